// The built page in headless Chromium, opened from file:// as its readers do.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, pageWith, pageWithText } from './browser.mjs';
import { HOSTILE, sample } from './make_sample.mjs';

const report = JSON.parse(readFileSync(new URL('sample.json', import.meta.url), 'utf8'));
const tiny = report.runs.filter((r) => r.model.path === 'models/tiny');
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const variants = (page) => page.locator('table.honest tbody th .link').allTextContents();
const text = (page, selector) => page.locator(selector).innerText();

/** A small report: rows are [variant, f1, bytes, tokens per second]. */
function small(rows, extra = {}) {
  return {
    lathe: '0.1.0', title: 'Small', created: '2026-01-01T00:00:00Z', experiment: { name: 'small', baseline: 'base', yaml: 'name: small\n' },
    runs: rows.map(([variant, f1, bytes, speed]) => ({
      id: `m/${variant}`, variant, baseline: 'base', status: 'done', error: null, model: { path: 'm', family: 'llama', parameters: 10, hash: 'h' }, environment: { cpu: 'c', threads: 1 },
      results: [
        { variant, format: 'f16', task: 'squad_v2', metric: 'f1', value: f1, low: f1 - 1, high: f1 + 1, n: 10, unit: '%', better: 'higher' },
        { variant, format: 'f16', task: 'size', metric: 'weights_bytes', value: bytes, better: 'lower' },
        { variant, format: 'f16', task: 'latency', metric: 'decode_tokens_per_s', value: speed, better: 'higher' },
      ],
      ...extra,
    })),
  };
}

test('the sample file is what its generator gives', () => {
  assert.deepEqual(report, JSON.parse(JSON.stringify(sample())));
});

test('loads without errors, warnings or requests; every variant of the model has its row', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  assert.deepEqual(await variants(page), tiny.map((r) => r.variant));
  assert.equal(await page.locator('.plot svg').count(), 5);
  const failed = page.locator('tr.failed');
  assert.equal(await failed.count(), 1);
  assert.match(await failed.innerText(), /hybrid[\s\S]*failed[\s\S]*<128>/);
  const row = page.locator('tr', { has: page.getByRole('button', { name: 'int4-naive', exact: true }) });
  assert.match(await row.innerText(), /1,311/);
  assert.match(await row.locator('.chip.worse').first().innerText(), /▼\s*−82\.2/);
  assert.deepEqual(trouble, []);
});

test('sorts by click, best first, then worst first, then as given; failed runs stay last', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  const value = (r, metric) => r.results.find((x) => x.metric === metric)?.value;
  const done = tiny.filter((r) => r.status === 'done');
  const expected = (metric, sign) => [...[...done].sort((a, b) => sign * (value(b, metric) - value(a, metric))).map((r) => r.variant), 'hybrid'];
  const f1 = page.locator('[data-sort="squad_v2/f1"]');
  await f1.click();
  assert.deepEqual(await variants(page), expected('f1', 1));
  assert.equal(await page.locator('th[aria-sort]').getAttribute('aria-sort'), 'descending');
  await f1.click();
  assert.deepEqual(await variants(page), expected('f1', -1));
  await f1.click();
  assert.deepEqual(await variants(page), tiny.map((r) => r.variant));
  await page.locator('[data-sort="perplexity/ppl"]').click();
  assert.deepEqual(await variants(page), expected('ppl', -1));
  assert.equal(await page.locator('th[aria-sort]').getAttribute('aria-sort'), 'ascending');
  await page.locator('[data-sort="variant"]').focus();
  await page.keyboard.press('Enter');
  assert.equal((await variants(page))[0], 'bf16');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.sort), 'variant', 'focus stays on the heading');
  assert.deepEqual(trouble, []);
});

test('marks the Pareto front, and again after another measure is picked', async () => {
  // Memory front: tiny, small, base. Speed front: tiny, fast, base. "bad" is beaten by small in all.
  const data = small([['base', 90, 16e6, 10], ['small', 88, 8e6, 9], ['bad', 80, 9e6, 8], ['fast', 85, 12e6, 20], ['tiny', 60, 2e6, 30]]);
  for (const [i, disk] of [1e6, 5e6, 5e6, 5e6, 5e6].entries()) data.runs[i].results.push({ task: 'size', metric: 'disk_bytes', value: disk, better: 'lower' });
  const { page } = await browser.open(pageWith(data));
  const marks = () => page.locator('table.honest tbody tr').evaluateAll((rows) => Object.fromEntries(rows.map((r) => [r.querySelector('.link').textContent, r.querySelector('td.front .sub')?.textContent ?? ''])));
  assert.deepEqual(await marks(), { base: 'both', small: 'memory', bad: '', fast: 'speed', tiny: 'both' });
  await page.selectOption('select[name=memory]', 'size/disk_bytes');
  assert.deepEqual(await marks(), { base: 'both', small: '', bad: '', fast: 'speed', tiny: 'speed' });
});

test('hostile text is shown as text and runs nowhere', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  await page.getByRole('button', { name: 'fp16', exact: true }).click();
  await page.getByRole('tab', { name: 'Predictions' }).click();
  assert.ok((await text(page, '.samples')).includes(HOSTILE[0]));
  const evil = HOSTILE.join(' ');
  const data = small([['base', 90, 1e6, 1], [evil, 80, 2e6, 2]], { error: evil, environment: { cpu: evil, [evil]: evil }, samples: [{ task: evil, id: evil, prompt: evil, prediction: evil, gold: [evil], scores: { [evil]: 1 } }], layers: [{ name: evil, format: evil, bytes: 1, shape: [1], mse: 0 }], timings: [{ op: evil, ms: 1 }] });
  data.title = evil;
  data.experiment.yaml = evil;
  data.runs[1].results[0].verdict = evil;
  data.runs[1].results.push({ task: evil, metric: evil, value: 3, unit: evil });
  const hostile = await browser.open(pageWith(data));
  const p = hostile.page;
  assert.equal(await text(p, 'h1'), evil);
  assert.ok((await p.title()).startsWith(evil.slice(0, 20)));
  await p.locator('table.honest .link').nth(1).click();
  for (const tab of await p.getByRole('tab').all()) {
    await tab.click();
    assert.ok((await text(p, '#tab-content')).includes(HOSTILE[1]), await tab.innerText());
  }
  await p.keyboard.press('Escape');
  await p.locator('.plot').first().focus();
  for (let i = 0; i < 2; i++) await p.keyboard.press('ArrowRight');
  assert.ok((await p.locator('.tooltip').first().innerText()).includes(HOSTILE[0]));
  for (const q of [page, p]) assert.deepEqual(await q.evaluate(() => [window.hacked, document.querySelectorAll('img, iframe, object').length, document.scripts.length]), [undefined, 0, 2]);
  assert.deepEqual([...trouble, ...hostile.trouble], []);
});

test('the policy of the page stops a script that gets in all the same', async () => {
  const { page } = await browser.open(pageWith(report));
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.hacked = true';
    document.body.append(script);
    document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.hacked = true">');
  });
  await page.waitForTimeout(100);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

test('missing and malformed data give a clear message', async () => {
  for (const [content, expected] of [['/*LATHE_DATA*/', /still an empty template/], ['', /empty template/], ['{"runs":[1', /not valid JSON/], ['{"runs":[{"id":3}]}', /runs\[0\]\.id: expected string, found number/]]) {
    const { page, trouble } = await browser.open(pageWithText(content));
    assert.match(await text(page, '[role=alert]'), expected);
    assert.deepEqual(trouble, []);
  }
});

test('a row opens the panel; tabs, neighbours and Escape work; focus returns', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  const name = page.getByRole('button', { name: 'nf4-dq', exact: true });
  await name.focus();
  await page.keyboard.press('Enter');
  assert.match(await text(page, 'dialog h2'), /nf4-dq/);
  assert.match(page.url(), /#run=models%2Ftiny%2Fnf4-dq$/);
  await page.getByRole('tab', { name: 'Results' }).focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.locator('[role=tab][aria-selected=true]').innerText(), 'Predictions');
  await page.selectOption('select[name=sample-filter]', 'differ');
  const cards = await page.locator('.sample').count();
  assert.match(await text(page, '.filters [role=status]'), new RegExp(`^${cards} of `));
  assert.ok(cards > 0 && await page.locator('.sample mark').count() > 0);
  await page.getByRole('button', { name: 'Next variant' }).click();
  assert.match(await text(page, 'dialog h2'), /^fp4/);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('dialog[open]').count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'nf4-dq');
  assert.deepEqual(trouble, []);
});

test('predictions are compared with any other run, and sorted out by what was scored lower', async () => {
  const sample = (id, prediction, f1) => ({ task: 't', id, prediction, gold: ['yes'], scores: { f1 } });
  const data = small([['base', 90, 16e6, 10], ['four', 80, 8e6, 20], ['three', 70, 6e6, 25]]);
  data.runs[0].samples = [sample('1', 'yes', 1), sample('2', 'no', 0), sample('3', 'yes', 1)];
  data.runs[1].samples = [sample('1', 'yes', 1), sample('2', 'yes', 1), sample('3', 'never', 0)];
  data.runs[2].samples = [sample('1', 'yes', 1), sample('2', 'yes', 1), sample('3', 'nope', 0)];
  const { page, trouble } = await browser.open(pageWith(data));
  await page.getByRole('button', { name: 'four', exact: true }).click();
  await page.getByRole('tab', { name: 'Predictions' }).click();
  const ids = () => page.locator('.sample header .mono').allTextContents();
  assert.deepEqual(await ids(), ['1', '2', '3']);
  for (const [filter, expected] of [['differ', ['2', '3']], ['worse', ['3']], ['better', ['2']]]) {
    await page.selectOption('select[name=sample-filter]', filter);
    assert.deepEqual(await ids(), expected, filter);
  }
  await page.selectOption('select[name=sample-filter]', 'differ');
  await page.selectOption('select[name=sample-other]', { label: 'three' });
  assert.deepEqual(await ids(), ['3']);
  assert.match(await text(page, '.sample'), /nope[\s\S]*never/);
  await page.selectOption('select[name=sample-other]', '');
  assert.deepEqual(await ids(), ['1', '2', '3']);
  assert.deepEqual(trouble, []);
});

test('the filter narrows table and charts; the memory timeline has its tab', async () => {
  const data = small([['base', 90, 16e6, 10], ['four', 80, 8e6, 20]]);
  data.runs[1].memory = { points: [[0, 1e6], [50, 9e6], [100, 5e6]], phases: [{ ms: 0, name: 'loading' }, { ms: 60, name: 'squad_v2' }] };
  data.runs[1].results[0].format = 'nf4:b64';
  const { page, trouble } = await browser.open(pageWith(data));
  await page.locator('input[name=filter]').fill('NF4');
  assert.deepEqual(await variants(page), ['four']);
  await page.locator('input[name=filter]').fill('nothing like it');
  assert.deepEqual(await variants(page), []);
  await page.locator('input[name=filter]').fill('');
  await page.getByRole('button', { name: 'four', exact: true }).click();
  await page.getByRole('tab', { name: 'Memory' }).click();
  const plot = page.locator('dialog .plot');
  assert.match(await plot.getAttribute('aria-label'), /peak 9\.00 MB during loading/);
  assert.equal(await plot.locator('svg').count(), 1);
  const bad = structuredClone(data);
  bad.runs[1].memory.points[1] = [50, 'much'];
  assert.match(await text((await browser.open(pageWith(bad))).page, '.trouble'), /runs\[1\]\.memory\.points\[1\]\[1\]: expected number, found string/);
  assert.deepEqual(trouble, []);
});

test('a point opens its run, by mouse and by keyboard; an address with a run opens it too', async () => {
  const { page } = await browser.open(pageWith(small([['base', 90, 16e6, 10], ['other', 80, 8e6, 20]])));
  const plot = page.locator('.plot').first();
  await plot.focus();
  await page.keyboard.press('ArrowRight');
  assert.match(await page.locator('.tooltip').first().innerText(), /^other/, 'the leftmost point comes first');
  await page.keyboard.press('Enter');
  assert.match(await text(page, 'dialog h2'), /^other/);
  await page.keyboard.press('Escape');
  const spot = await plot.evaluate((e) => {
    const paths = [...e.querySelectorAll('svg path')].map((x) => x.getBoundingClientRect()).filter((b) => b.width > 8 && b.width < 20 && Math.abs(b.width - b.height) < 2);
    return { x: paths[0].x + paths[0].width / 2, y: paths[0].y + paths[0].height / 2 };
  });
  await page.mouse.click(spot.x, spot.y);
  assert.equal(await page.locator('dialog[open]').count(), 1);
  const direct = await browser.open(`${pageWith(report)}#run=models%2Ftiny%2Fint8`);
  assert.match(await text(direct.page, 'dialog h2'), /^int8/);
});

test('models, columns and measures can be picked; probes may be missing', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  await page.selectOption('select[name=model]', 'Qwen/Qwen2.5-0.5B-Instruct');
  assert.equal((await variants(page)).length, 13);
  assert.match(await text(page, '.fact-line'), /qwen2 · 494 M parameters/);
  await page.selectOption('select[name=model]', '');
  assert.equal((await variants(page)).length, 26);
  await page.getByText('Columns', { exact: true }).click();
  await page.getByRole('checkbox', { name: 'Bits/weight' }).check();
  assert.equal(await page.locator('[data-sort="size/bits_per_weight"]').count(), 1);
  await page.selectOption('select[name=bar]', 'size/disk_bytes');
  await page.locator('input[name=full]').check();
  const bare = small([['base', 90, 1, 1]]);
  for (const run of bare.runs) run.results = run.results.slice(0, 1);
  const without = await browser.open(pageWith(bare));
  assert.match(await text(without.page, 'main'), /Nothing of this kind was measured/);
  assert.deepEqual([...trouble, ...without.trouble], []);
});

test('runs from different machines are named as such', async () => {
  const data = small([['base', 90, 1e6, 1], ['other', 80, 2e6, 2]]);
  data.runs[1].environment = { cpu: 'another', threads: 8 };
  const { page } = await browser.open(pageWith(data));
  assert.match(await text(page, '.warning'), /different machines/);
});

test('exports: CSV with exact figures, SVG and PNG of a chart', async () => {
  const { page, trouble } = await browser.open(pageWith(report));
  const save = async (button) => {
    const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
    return { name: download.suggestedFilename(), content: readFileSync(await download.path()) };
  };
  const table = await save(page.getByRole('button', { name: 'CSV' }));
  assert.equal(table.name, 'Sample-sweep-made-up-figures.csv');
  const lines = table.content.toString().trim().split('\r\n');
  assert.equal(lines.length, 14);
  assert.ok(lines[1].includes(String(tiny[0].results.find((r) => r.metric === 'weights_bytes').value)));
  const svg = await save(page.getByRole('button', { name: 'SVG' }).first());
  assert.match(svg.content.toString(), /^<svg[\s\S]*int4-naive[\s\S]*<\/svg>$/);
  const png = await save(page.getByRole('button', { name: 'PNG' }).first());
  assert.equal(png.name, 'lathe-quality-and-memory.png');
  assert.equal(png.content.subarray(1, 4).toString(), 'PNG');
  assert.ok(png.content.length > 10_000);
  assert.deepEqual(trouble, []);
});

test('text stands out from its ground in both themes (WCAG AA, 4.5 : 1)', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page } = await browser.open(pageWith(report), { colorScheme });
    const low = await page.evaluate(() => {
      const style = getComputedStyle(document.documentElement);
      const luminance = (name) => {
        const hex = style.getPropertyValue(name).trim().slice(1);
        const [r, g, b] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => (Math.max(luminance(a), luminance(b)) + 0.05) / (Math.min(luminance(a), luminance(b)) + 0.05);
      const pairs = [['better', 'better-soft'], ['worse', 'worse-soft'], ['undecided', 'undecided-soft'], ['ink', 'better-soft'], ['ink', 'worse-soft'], ['ink', 'accent-soft'], ['star', 'star-soft'], ['muted', 'star-soft'], ['accent', 'raised'], ['muted', 'undecided-soft']];
      for (const ground of ['panel', 'raised', 'ground']) for (const ink of ['ink', 'muted']) pairs.push([ink, ground]);
      for (const ink of ['star', 'better', 'worse', 'accent']) pairs.push([ink, 'panel']);
      return pairs.map(([a, b]) => [a, b, ratio(`--${a}`, `--${b}`)]).filter(([, , r]) => !(r >= 4.5));
    });
    assert.deepEqual(low, [], colorScheme);
  }
});

test('the switch overrides the system\'s theme, in the charts too', async () => {
  const { page, trouble } = await browser.open(pageWith(report), { colorScheme: 'light' });
  const look = () => page.evaluate(() => [getComputedStyle(document.body).backgroundColor, document.querySelector('.plot svg text').getAttribute('fill') ?? document.querySelector('.plot svg text').style.fill]);
  const light = await look();
  await page.getByText('Dark', { exact: true }).click();
  const dark = await look();
  assert.notEqual(light[0], dark[0]);
  assert.notEqual(light[1], dark[1]);
  await page.getByText('Light', { exact: true }).click();
  assert.deepEqual(await look(), light);
  assert.deepEqual(trouble, []);
});

test('nothing is wider than the window at 800 and 1440 pixels', async () => {
  for (const width of [800, 1440]) {
    const { page } = await browser.open(pageWith(report), { viewport: { width, height: 900 } });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${width}`);
  }
});
