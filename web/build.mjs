// Builds dist/report.html: one file, no network, ready for `lathe report` to put its JSON in.
//   node build.mjs [OUT]
// The same sources and lock file give the same bytes. The policy in the page names the hash of the one script, so that nothing
// that came in with the data can run, whatever it holds.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(root, 'dist', 'report.html');
const PLACEHOLDER = '/*LATHE_DATA*/';

async function bundle(entry, extra) {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    charset: 'utf8',
    legalComments: 'none',
    target: ['chrome100', 'firefox100', 'safari15.4'],
    logLevel: 'warning',
    ...extra,
  });
  return result.outputFiles[0].text.trim();
}

/** Text that may stand inside <script> or <style>: the end tag must not appear in it. */
function inlineable(text, tag) {
  const safe = tag === 'script' ? text.replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '<\\!--') : text;
  if (new RegExp(`</${tag}`, 'i').test(safe)) throw new Error(`the ${tag} bundle holds its own end tag`);
  return safe;
}

/** Every report passes the bundled libraries on, so the notices that their licences ask for travel in it. */
function notices() {
  const read = (path) => readFileSync(join(root, 'node_modules', path), 'utf8').trim();
  const { version } = JSON.parse(read('echarts/package.json'));
  const parts = [
    `Lathe report page, Apache-2.0. It contains:\n\n== Apache ECharts ${version}, Apache-2.0 ==\n${read('echarts/NOTICE')}`,
    `== ZRender, BSD-3-Clause ==\n${read('zrender/LICENSE')}`,
    `== parts of d3 in ECharts, BSD-3-Clause ==\n${read('echarts/licenses/LICENSE-d3')}`,
    `== tslib, 0BSD ==\n${read('tslib/LICENSE.txt')}`,
  ];
  const text = parts.join('\n\n').replace(/\r/g, '').replace(/[ \t]+$/gm, '');
  if (text.includes('*/')) throw new Error('a notice would end the comment it stands in');
  return `/*\n${text}\n*/\n`;
}

const script = inlineable(notices() + await bundle('src/main.ts', { format: 'iife' }), 'script');
const style = inlineable(await bundle('src/style/page.css', {}), 'style');
const hash = createHash('sha256').update(script, 'utf8').digest('base64');
const csp = [
  "default-src 'none'",
  `script-src 'sha256-${hash}'`,
  "style-src 'unsafe-inline'",
  'img-src data: blob:',
  "connect-src 'none'", // the dashboard, which serves this same page, puts 'self' here
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const parts = { CSP: csp, STYLE: style, DATA: PLACEHOLDER, SCRIPT: script };
const template = readFileSync(join(root, 'src/template.html'), 'utf8');
const page = template.replace(/%(CSP|STYLE|DATA|SCRIPT)%/g, (_, name) => parts[name]);
if (page.split(PLACEHOLDER).length !== 2) throw new Error(`${PLACEHOLDER} must stand exactly once in the page`);
if (page.includes('\r')) throw new Error('a carriage return in the page would change the hash of the script');

mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, page);
console.log(`${out}: ${Buffer.byteLength(page)} bytes (script ${Buffer.byteLength(script)}, style ${Buffer.byteLength(style)})`);
