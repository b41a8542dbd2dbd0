// The parts that compute, without a browser: Pareto front, far-off figures, differences of texts, figures as text, reading the data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const names = ['pareto', 'focus', 'diff', 'format', 'data', 'metrics', 'csv'];
const bundle = await build({
  stdin: { contents: names.map((n) => `export * as ${n} from './${n}.ts';`).join('\n'), resolveDir: fileURLToPath(new URL('../src', import.meta.url)) },
  bundle: true, format: 'esm', write: false,
});
const { pareto, focus, diff, format, data, metrics, csv } = await import(`data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString('base64')}`);

const ids = (points) => points.map((p) => p.item);
const point = (item, x, y) => ({ item, x, y });

test('front: lower memory, higher quality', () => {
  const points = [point('big', 16, 90), point('dominated', 16, 89), point('mid', 8, 90), point('small', 4, 80), point('worse', 5, 79), point('odd', 6, 85)];
  assert.deepEqual(ids(pareto.front(points, 'lower', 'higher')), ['small', 'odd', 'mid']);
});

test('front: higher speed, lower perplexity', () => {
  const points = [point('slow good', 10, 5), point('fast bad', 40, 9), point('middle', 20, 6), point('beaten', 19, 6)];
  assert.deepEqual(ids(pareto.front(points, 'higher', 'lower')), ['slow good', 'middle', 'fast bad']);
});

test('front: equal points are all on it, points without a figure are not', () => {
  const points = [point('a', 4, 80), point('twin', 4, 80), point('none', NaN, 99), point('same y', 5, 80)];
  assert.deepEqual(ids(pareto.front(points, 'lower', 'higher')), ['a', 'twin']);
  assert.deepEqual(pareto.front([], 'lower', 'higher'), []);
});

test('front agrees with its definition on random points', () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    const points = Array.from({ length: 12 }, (_, i) => point(i, Math.floor(random() * 6), Math.floor(random() * 6)));
    const expected = points.filter((p) => !points.some((q) => q.x <= p.x && q.y >= p.y && (q.x < p.x || q.y > p.y))).map((p) => p.item).sort((a, b) => a - b);
    assert.deepEqual(ids(pareto.front(points, 'lower', 'higher')).sort((a, b) => a - b), expected);
  }
});

test('focus: a collapsed variant is far, ordinary spread and two groups are not', () => {
  const span = (value, half = 0) => ({ value, low: value - half, high: value + half });
  const f = focus.focus([88, 87, 86, 84, 6].map((v) => span(v, 4)), 88);
  assert.ok(f.far(6) && !f.far(84));
  assert.ok(f.clip(6) > 70 && f.clip(6) < 84 && f.clip(86) === 86);
  assert.equal(focus.focus([88, 87, 86, 84, 80].map((v) => span(v, 4)), 88), null);
  assert.equal(focus.focus([6, 6.1, 6.2, 13, 13.1, 13.2].map((v) => span(v)), 6), null);
  assert.equal(focus.focus([], 0), null);
});

test('diff gives both texts back and marks what differs', () => {
  const side = (list) => list.map((p) => p.text).join('');
  const pairs = [['at six', 'at six and the bell'], ['', 'x'], ['same', 'same'], ['the north gate', 'a south gate!'], ['日本 語', '日本 人'], ['a\n\n b', 'a\n b']];
  for (const [a, b] of pairs) {
    const d = diff.diff(a, b);
    assert.equal(side(d.left), a);
    assert.equal(side(d.right), b);
    assert.equal(side(d.left.filter((p) => p.same)), side(d.right.filter((p) => p.same)));
    if (a === b) assert.ok(d.left.every((p) => p.same));
  }
  assert.deepEqual(diff.diff('the north gate', 'the south gate').right, [{ text: 'the ', same: true }, { text: 'south', same: false }, { text: ' gate', same: true }]);
  const long = Array.from({ length: 5000 }, (_, i) => `w${i}`).join(' ');
  assert.equal(side(diff.diff(long, `x ${long.replace(/w/g, 'v')}`).left), long);
});

test('figures as text', () => {
  const m = (metric, task = 't', unit = null) => metrics.makeMetric({ task, metric, unit });
  const n = (metric, value, unit) => format.withUnit(m(metric, 't', unit), value);
  assert.equal(n('weights_bytes', 6291456), '6.29 MB');
  assert.equal(n('weights_bytes', 1234567890), '1.23 GB');
  assert.equal(n('weights_bytes', 999_960), '1.00 MB');
  assert.equal(n('weights_bytes', 512), '512 B');
  assert.equal(n('ppl', 6.1839), '6.184');
  assert.equal(n('ppl', 1311.2), '1,311');
  assert.equal(n('ppl', 3.2e6), '3,200,000');
  assert.equal(n('ppl', 4.2e12), '4.20e12');
  assert.equal(n('f1', 81.249, '%'), '81.2%');
  assert.equal(n('f1', null, '%'), '–');
  assert.equal(n('decode_tokens_per_s', 21.44), '21.4 tok/s');
  assert.equal(n('usd_per_million_tokens', 0.067321), '$0.0673');
  assert.equal(format.delta(m('f1', 't', '%'), -1.3), '−1.3');
  assert.equal(format.delta(m('f1', 't', '%'), 0.4), '+0.4');
  assert.equal(format.ratio(1.6, 6.3), '0.25×');
  assert.equal(format.ratio(1, 0), null);
  assert.equal(format.exact(m('weights_bytes'), 6291456), '6,291,456 bytes');
  assert.equal(format.parameters(3145728), '3.15 M');
  assert.equal(format.date('2026-01-01T00:00:00Z'), '2026-01-01 00:00 UTC');
  assert.equal(format.date('someday'), 'someday');
});

test('metrics: kind and direction, known or not', () => {
  assert.equal(metrics.makeMetric({ task: 'perplexity', metric: 'ppl' }).better, 'lower');
  assert.equal(metrics.makeMetric({ task: 'perplexity', metric: 'ppl', convention: 'hf-stride' }).detail, 'hf-stride');
  assert.equal(metrics.makeMetric({ task: 'memory', metric: 'scratch_bytes' }).kind, 'memory');
  assert.equal(metrics.makeMetric({ task: 'latency', metric: 'new_ms', better: 'lower' }).kind, 'speed');
  assert.equal(metrics.makeMetric({ task: 'mine', metric: 'novel', better: 'lower' }).kind, 'quality');
  assert.equal(metrics.makeMetric({ task: 'roofline', metric: 'prefill_percent_of_int8_amx', better: 'higher' }).kind, 'speed');
  assert.notEqual(metrics.metricKey('p', 'ppl', 'a'), metrics.metricKey('p', 'ppl', 'b'));
});

test('data that is missing or wrong is named', () => {
  const says = (text, pattern) => assert.throws(() => data.parseReport(text), (e) => e instanceof data.DataError && pattern.test(e.message));
  const run = { id: 'a', variant: 'v', status: 'done', model: { path: 'p' }, results: [] };
  says('', /empty template/);
  says('/*LATHE_DATA*/', /empty template/);
  says('{"runs": [', /not valid JSON/);
  says('[]', /report: expected object, found array/);
  says('{}', /runs: expected array, found nothing/);
  says('{"runs": []}', /runs: the list is empty/);
  says(JSON.stringify({ runs: [run, { ...run, status: 'maybe' }] }), /runs\[1\]\.status: expected "done", "partial" or "failed", found "maybe"/);
  says(JSON.stringify({ runs: [{ ...run, results: [{ task: 't', metric: 'f1', value: '81' }] }] }), /runs\[0\]\.results\[0\]\.value: expected number, found string/);
  says(JSON.stringify({ runs: [{ ...run, samples: [{ task: 't' }] }] }), /runs\[0\]\.samples\[0\]\.prediction: expected string, found nothing/);
  assert.equal(data.parseReport(JSON.stringify({ runs: [{ ...run, status: 'partial', error: 'task/a: no data' }] })).runs[0].status, 'partial');
  const good = data.parseReport(JSON.stringify({ runs: [run] }));
  assert.equal(good.title, 'Lathe report');
  assert.deepEqual(good.runs[0].layers, []);
});

test('a result without a value says why', () => {
  const energy = { task: 'latency', metric: 'joules_per_token', value: null, unit: 'J', better: 'lower', unknown: 'no counter' };
  const run = { id: 'a', variant: 'v', status: 'done', model: { path: 'p' }, results: [energy] };
  assert.equal(data.parseReport(JSON.stringify({ runs: [run] })).runs[0].results[0].value, null);
  assert.throws(() => data.parseReport(JSON.stringify({ runs: [{ ...run, results: [{ ...energy, unknown: 7 }] }] })), /results\[0\]\.unknown: expected string/);
  assert.equal(format.unknown(energy), 'unknown: no counter');
  assert.equal(format.unknown({ value: 1 }), null);
  const metric = metrics.makeMetric(energy);
  const row = { model: 'm', variant: 'v', format: 'f16', isBaseline: false, run: { status: 'done' }, cells: new Map([[metric.key, energy]]) };
  const none = { points: [], rows: new Set() };
  assert.match(csv.toCsv([row], [metric], { rows: [row], memoryFront: none, speedFront: none }), /done,,unknown\r\n$/);
});

test('CSV quotes what must be quoted and defuses formulas', () => {
  const row = { model: 'a,b', variant: '=1+1', format: 'say "x"', isBaseline: false, run: { status: 'failed', error: 'two\nlines' }, cells: new Map() };
  const none = { points: [], rows: new Set() };
  const text = csv.toCsv([row], [], { rows: [row], memoryFront: none, speedFront: none });
  assert.equal(text, 'model,variant,format,baseline,pareto,status,error\r\n"a,b",\'=1+1,"say ""x""",,,failed,"two\nlines"\r\n');
});
