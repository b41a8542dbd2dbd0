// Takes the pictures of docs/images from real runs: node test/docs_shots.mjs RUNS_FOLDER [REPORT_RUNS_FOLDER]
// ../build/lathe serves them; the terminal table is its output, drawn by the browser. report.png shows
// the page of the second folder.
import { execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { launch } from './browser.mjs';

const [runs, reported = runs] = process.argv.slice(2);
const program = fileURLToPath(new URL('../../build/lathe', import.meta.url));
const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const { open, close } = await launch();

const server = spawn(program, ['dashboard', runs, '--port', '0', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
let url = '';
for await (const chunk of server.stdout) if ((url = /"url": "([^"]+)"/.exec(chunk)?.[1] ?? '')) break;
const { page } = await open(url, { viewport: { width: 1440, height: 1150 }, colorScheme: 'dark' }, url);
await page.waitForTimeout(500);
await page.screenshot({ path: join(images, 'dashboard.png') });
const name = await page.locator('table.honest tbody tr:not(.baseline) .link').last().textContent();
await page.getByRole('button', { name, exact: true }).click();
await page.getByRole('tab', { name: 'Predictions' }).click();
await page.locator('.sample').first().waitFor();
if (await page.locator('select[name=sample-filter]').count()) await page.selectOption('select[name=sample-filter]', 'differ');
await page.screenshot({ path: join(images, 'predictions.png') });
server.kill();

// Colours of the terminal as `script` lets the program believe that it has one.
const text = execFileSync('script', ['-qec', `"${program}" report "${runs}"`, '/dev/null'], { encoding: 'utf8' });
const colours = { 31: '#ff958a', 32: '#74d296', 33: '#f2b552' };
const escaped = text.replace(/\r/g, '').replace(/&/g, '&amp;').replace(/</g, '&lt;');
const html = escaped.replace(/\x1b\[(\d+)m/g, (_, code) => (code === '0' ? '</span>' : `<span style="${code === '1' ? 'font-weight:700' : code === '2' ? 'opacity:.65' : `color:${colours[code]}`}">`));
const file = join(tmpdir(), 'lathe-terminal.html');
writeFileSync(file, `<meta charset="utf-8"><body style="margin:0;background:#13171b"><pre style="display:inline-block;margin:0;padding:16px;color:#e7eaed;font:14px/1.45 'DejaVu Sans Mono',monospace">$ lathe report ${runs.split('/').slice(-2).join('/')}\n${html}</pre>`);
const terminal = await open(pathToFileURL(file).href);
await terminal.page.locator('pre').screenshot({ path: join(images, 'terminal.png') });
const report = join(tmpdir(), 'lathe-report.html');
execFileSync(program, ['report', reported, '-o', report], { stdio: 'ignore' });
const whole = await open(pathToFileURL(report).href, { viewport: { width: 1440, height: 2000 }, colorScheme: 'light' });
await whole.page.waitForTimeout(500);
await whole.page.screenshot({ path: join(images, 'report.png') });
await close();
