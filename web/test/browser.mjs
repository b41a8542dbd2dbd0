// A headless Chromium and a page made from the built template, the way `lathe report` makes it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const template = readFileSync(fileURLToPath(new URL('../dist/report.html', import.meta.url)), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'lathe-page-'));
export const out = fileURLToPath(new URL('out/', import.meta.url));
mkdirSync(out, { recursive: true });
let pages = 0;

/** The page with `text` where the placeholder was, as a file:// address. */
export function pageWithText(text) {
  const path = join(folder, `report-${pages++}.html`);
  writeFileSync(path, template.replace('/*LATHE_DATA*/', () => text));
  return pathToFileURL(path).href;
}

/** JSON as it may stand in a script element: `<` can only occur inside strings, where \u003c means the same. */
export function pageWith(report) {
  return pageWithText(JSON.stringify(report).replace(/</g, '\\u003c'));
}

export async function launch() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  return {
    browser,
    async close() {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
    /** Opens a page; `trouble` collects console errors, exceptions, and any attempt to reach the network but for addresses that begin with `allowed`. */
    async open(url, options = {}, allowed = '') {
      const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, acceptDownloads: true, ...options });
      const page = await context.newPage();
      const trouble = [];
      page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') trouble.push(m.text()); });
      page.on('pageerror', (e) => trouble.push(String(e)));
      page.on('dialog', (d) => { trouble.push(`dialog: ${d.message()}`); d.dismiss(); });
      page.on('request', (r) => { if (!/^(file|data|blob):/.test(r.url()) && !(allowed && r.url().startsWith(allowed))) trouble.push(`request: ${r.url()}`); });
      await page.goto(url);
      return { page, trouble };
    },
  };
}
