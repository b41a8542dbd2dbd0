// `lathe dashboard` in headless Chromium, over a folder that changes as a sweep changes it. LATHE names the program; without it
// (../build/lathe) the tests skip.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, out } from './browser.mjs';

const program = process.env.LATHE ?? fileURLToPath(new URL('../../build/lathe', import.meta.url));
const skip = existsSync(program) ? false : `${program} is not built`;
const folder = mkdtempSync(join(tmpdir(), 'lathe-dashboard-'));
const sweep = join(folder, 'demo');
let browser;
let server;
let url = '';

function write(path, value) {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
}

function finish(variant, order, f1, answers) {
  const row = (task, metric, value, better) => ({ variant, format: variant, task, metric, value, better, n: 30 });
  write(join(sweep, variant, 'run.json'), {
    id: variant, variant, baseline: 'fp16', status: 'done', model: { path: 'm' }, environment: { threads: 1 }, experiment: { name: 'demo', baseline: 'fp16', order }, layers: [], recipe: {}, tasks: [],
    results: [row('squad_v2', 'f1', f1, 'higher'), row('size', 'weights_bytes', 1e6 * f1, 'lower')],
    samples: [{ task: 'squad_v2', id: '0', prediction: answers(0), scores: { f1: 1 } }],
  });
  write(join(sweep, variant, 'samples.jsonl'), Array.from({ length: 30 }, (_, i) => `${JSON.stringify({ task: 'squad_v2', id: String(i), scores: { f1: answers(i) === 'yes' ? 1 : 0 }, prediction: answers(i), gold: ['yes'] })}\n`).join(''));
  write(join(sweep, variant, 'memory.json'), { points: [[0, 1e6], [100, 2e6]], phases: [{ ms: 0, name: 'loading' }] });
}

before(async () => {
  if (skip) return;
  browser = await launch();
  write(join(sweep, 'plan.json'), { name: 'demo', begun: '2026-01-01T00:00:00Z', runs: ['fp16', 'nf4', 'int8'].map((id, order) => ({ id, variant: id, model: 'm', order, seconds: 90 })) });
  finish('fp16', 0, 90, () => 'yes');
  write(join(sweep, 'nf4', 'progress.json'), { phase: 'squad_v2', done: 7, total: 30, elapsed_ms: 4000, rss_bytes: 5e7, pid: process.pid });
  server = spawn(program, ['dashboard', folder, '--port', '0', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  for await (const chunk of server.stdout) {
    said += chunk;
    url = /"url": "([^"]+)"/.exec(said)?.[1] ?? '';
    if (url) break;
  }
});
after(async () => {
  server?.kill();
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('shows what runs, and each run as it ends, without a reload', { skip }, async () => {
  const { page, trouble } = await browser.open(url, {}, url);
  await page.evaluate(() => { window.same = true; });
  const variants = () => page.locator('table.honest tbody th .link').allTextContents();
  assert.deepEqual(await variants(), ['fp16']);
  const line = page.locator('.live li[data-state=running]');
  assert.match(await line.innerText(), /nf4[\s\S]*squad_v2 7 of 30/);
  assert.match(await page.locator('.live li[data-state=waiting]').innerText(), /int8[\s\S]*about 1 min 30 s/);
  await page.selectOption('select[name=quality]', 'squad_v2/f1');
  await page.evaluate(() => document.activeElement.blur());
  rmSync(join(sweep, 'nf4', 'progress.json'));
  finish('nf4', 1, 80, (i) => (i % 3 === 0 ? 'no' : 'yes'));
  await page.waitForFunction(() => document.querySelectorAll('table.honest tbody tr').length === 2, null, { timeout: 15000 });
  assert.deepEqual(await variants(), ['fp16', 'nf4']);
  assert.equal(await page.evaluate(() => window.same), true);
  assert.match(await page.locator('.live').innerText(), /Stopped[\s\S]*2 of 3 runs done/);
  await page.screenshot({ path: join(out, 'dashboard.png'), fullPage: true });
  assert.deepEqual(trouble, []);
});

test('reads all samples of a run, not only those that a report keeps', { skip }, async () => {
  const { page, trouble } = await browser.open(url, {}, url);
  await page.getByRole('button', { name: 'nf4', exact: true }).click();
  await page.getByRole('tab', { name: 'Predictions' }).click();
  await page.locator('.sample').nth(29).waitFor();
  await page.selectOption('select[name=sample-filter]', 'worse');
  assert.equal(await page.locator('.sample').count(), 10);
  await page.getByRole('tab', { name: 'Environment' }).click();
  assert.equal(await page.getByRole('link', { name: 'samples.jsonl' }).count(), 1);
  assert.deepEqual(trouble, []);
});

test('says so when the dashboard is gone', { skip }, async () => {
  const { page } = await browser.open(url, {}, url);
  server.kill();
  await page.getByText('The dashboard does not answer').waitFor({ timeout: 15000 });
});
