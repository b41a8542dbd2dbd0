// Writes test/sample.json: a made-up sweep for developing and testing the page. No figure in it was measured.
// Seeded, so that it is the same each time. Some texts are hostile on purpose.
import { writeFileSync } from 'node:fs';

let seed = 20260101;
function random() {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const around = (v, share) => v * (1 + share * (2 * random() - 1));
const round = (v, d = 3) => Number(v.toFixed(d));

export const HOSTILE = [
  '</script><script>alert(1)</script>',
  '<img src=x onerror="window.hacked = true">',
  '<!-- <script> --> {{constructor}} ${1} \u202Egnp.exe & &amp; "quotes"',
];

// name, format, bits per weight, speed against f16, loss of quality (share), perplexity factor
const VARIANTS = [
  ['fp16', 'f16', 16, 1, 0, 1],
  ['bf16', 'bf16', 16, 1, 0.001, 1.0002],
  ['int8', 'int8:row', 8.06, 1.72, 0.002, 1.0011],
  ['int8-g128', 'int8:g128', 8.13, 1.66, 0.001, 1.0006],
  ['int4-naive', 'int4:row', 4.06, 2.71, 0.93, 212],
  ['int4-g128', 'int4:g128', 4.13, 2.76, 0.048, 1.061],
  ['int4-g32', 'int4:g32', 4.5, 2.58, 0.021, 1.029],
  ['nf4', 'nf4:b64', 4.5, 2.31, 0.017, 1.024],
  ['nf4-dq', 'nf4:b64,dq', 4.13, 2.22, 0.018, 1.026],
  ['fp4', 'fp4:b64', 4.5, 2.3, 0.052, 1.067],
  ['pruned-20', 'f16', 16, 1, 0.006, 1.009],
  ['pruned-30', 'f16', 16, 1, 0.031, 1.043],
  ['hybrid', 'int4:g128', 4.13, 2.74, 0.074, 1.098],
];

const MODELS = [
  { path: 'models/tiny', family: 'llama', parameters: 3145728, hash: '6f0c9a1be24d', f1: 88.4, em: 84.5, gsm: 66, ppl: 6.184, decode: 1460, layers: 4, hidden: 256 },
  { path: 'Qwen/Qwen2.5-0.5B-Instruct', family: 'qwen2', parameters: 494032768, hash: 'a91be0034cc7', f1: 71.3, em: 62.5, gsm: 34.5, ppl: 13.107, decode: 21.4, layers: 4, hidden: 896 },
];

const ENVIRONMENT = {
  cpu: 'Example CPU 9000 @ 2.60GHz', isa: 'avx512', threads: 2, device: 'cpu', seed: 0, memory_bytes: 16777216000, compiler: 'g++ 12.2.0',
  caches: { l1d: 49152, l2: 2097152, l3: 37748736 },
};

function score(variant, task, metric, base, value, spread, unit, better, n) {
  const r = { variant: variant[0], format: variant[1], task, metric, value: round(value), low: round(value - spread), high: round(value + spread), n, unit, better };
  if (variant[0] === 'fp16') return { ...r, baseline_delta: null, verdict: null };
  const d = value - base;
  const half = spread * 0.45 + Math.abs(d) * 0.2;
  const good = better === 'higher' ? d : -d;
  const verdict = good - half > 0 ? 'better' : good + half < 0 ? 'worse' : half < spread * 0.46 ? '=' : 'undecided';
  return { ...r, baseline_delta: round(d), delta_low: round(d - half), delta_high: round(d + half), verdict };
}

const QUESTIONS = [
  ['Mara keeps seven lanterns in the boathouse by the river. Where are the lanterns?', ['in the boathouse', 'the boathouse by the river'], 'in the boathouse by the river', 'in the boathouse by the sea'],
  ['Old Teun sold three of his nine goats at the spring market. Who bought the goats?', [], '', 'the spring market'],
  ['The ferry leaves at six and the bell rings twice before it. When does the ferry leave?', ['at six', 'six'], 'at six', 'at six and the bell rings twice'],
  ['Ilse paints the north gate blue. Which gate is blue?', ['the north gate'], HOSTILE[0], 'the north gate'],
  ['Bram hid the coin under the third stone. What did Bram hide?', ['the coin', 'a coin'], 'the coin', HOSTILE[1]],
  ['The miller grinds rye on Mondays. What does the miller grind?', ['rye'], 'rye', HOSTILE[2]],
];

function samples(variant) {
  const bad = variant[4];
  const squad = QUESTIONS.map(([prompt, gold, good, worse], i) => {
    const hit = variant[0] === 'fp16' || random() > Math.max(bad * 3, 0.15);
    const prediction = bad > 0.5 ? 'the the the the river the' : hit ? good : worse;
    const f1 = gold.includes(prediction) || (gold.length === 0 && prediction === '') ? 1 : gold.some((g) => prediction.includes(g)) ? 0.75 : 0;
    return { task: 'squad_v2', id: `w-${100 + i}`, prompt: `Read the story and answer.\n\n${prompt}\nAnswer:`, prediction, gold, scores: { exact_match: f1 === 1 ? 1 : 0, f1 } };
  });
  const sums = [4, 9, 13].map((n, i) => {
    const hit = variant[0] === 'fp16' || random() > bad * 4;
    const total = hit ? n * 3 + 5 : n * 3 + 4;
    return {
      task: 'gsm8k', id: `g-${i}`, prompt: `Each of 3 baskets holds ${n} pears. 5 more lie on the table. How many pears are there?`,
      prediction: bad > 0.5 ? '#### ####' : `3 baskets of ${n} pears are ${n * 3} pears. With the 5 on the table that makes ${n * 3} + 5 = ${total}.\n#### ${total}`,
      gold: [`#### ${n * 3 + 5}`], scores: { strict_match: hit && bad <= 0.5 ? 1 : 0 },
    };
  });
  return [...squad, ...sums];
}

function layers(model, variant) {
  const shapes = [['self_attn.q_proj', 1, 1], ['self_attn.k_proj', 0.5, 1], ['self_attn.v_proj', 0.5, 1], ['self_attn.o_proj', 1, 1], ['mlp.gate_proj', 2.75, 1], ['mlp.up_proj', 2.75, 1], ['mlp.down_proj', 1, 2.75]];
  return Array.from({ length: model.layers }, (_, l) => shapes.map(([name, rows, columns]) => {
    const shape = [rows, columns].map((f) => Math.round(f * model.hidden));
    return {
      name: `model.layers.${l}.${name}`, format: variant[1], shape, bytes: Math.round((shape[0] * shape[1] * variant[2]) / 8),
      mse: variant[2] === 16 && variant[4] < 0.005 ? 0 : Number(around(variant[4] * 4e-5 + 2e-8, 0.5).toExponential(3)),
    };
  })).flat();
}

function run(model, variant) {
  const [name, format, bits, speed, loss, factor] = variant;
  const base = { id: `${model.path}/${name}`, variant: name, baseline: 'fp16', error: null, model: { path: model.path, family: model.family, parameters: model.parameters, hash: model.hash }, environment: ENVIRONMENT };
  if (model.path === 'models/tiny' && name === 'hybrid') {
    return { ...base, status: 'failed', error: 'sparsegpt: model.layers.2.mlp.down_proj: the Hessian is not positive definite after damping 0.01. Raise damping, or use more calibration samples <128>', results: [], samples: [] };
  }
  const weights = Math.round((model.parameters * bits) / 8) + 4096;
  const decode = around(model.decode * speed, 0.02);
  const probe = (task, metric, value, unit, better, spread = 0) => ({
    variant: name, format, task, metric, value, low: spread ? round(value * (1 - spread)) : null, high: spread ? round(value * (1 + spread)) : null, n: spread ? 20 : 1, unit, better, baseline_delta: null, verdict: null,
  });
  const q = (task, metric, value, spread, unit, n) => score(variant, task, metric, value, around(value * (1 - loss), loss ? 0.004 : 0), spread, unit, 'higher', n);
  return {
    ...base, status: 'done',
    results: [
      q('squad_v2', 'exact_match', model.em, 4.9, '%', 200), q('squad_v2', 'f1', model.f1, 4.2, '%', 200),
      q('squad_v2', 'has_ans_f1', model.f1 - 2, 5.6, '%', 104), q('squad_v2', 'no_ans_f1', model.f1 + 2, 5.9, '%', 96),
      q('gsm8k', 'strict_match', model.gsm, 6.4, '%', 200), q('gsm8k', 'flexible_match', model.gsm + 1.5, 6.3, '%', 200),
      score(variant, 'perplexity', 'ppl', model.ppl, model.ppl * factor, model.ppl * factor * 0.021, '', 'lower', 64),
      probe('latency', 'ttft_ms', round(around(46000 / model.decode / Math.sqrt(speed), 0.03)), 'ms', 'lower', 0.04),
      probe('latency', 'prefill_tokens_per_s', round(around(model.decode * 9.5 * Math.sqrt(speed), 0.02)), 'tok/s', 'higher', 0.02),
      probe('latency', 'decode_tokens_per_s', round(decode), 'tok/s', 'higher', 0.015),
      ...[['p50', 1], ['p90', 1.12], ['p99', 1.55]].map(([p, f]) => probe('latency', `itl_ms_${p}`, round((1000 / decode) * f), 'ms', 'lower')),
      probe('size', 'disk_bytes', weights + 2_210_000, 'bytes', 'lower'), probe('size', 'weights_bytes', weights, 'bytes', 'lower'),
      probe('size', 'bits_per_weight', bits, 'bit', 'lower'),
      probe('memory', 'kv_bytes', 4_194_304, 'bytes', 'lower'), probe('memory', 'peak_engine_bytes', weights + 19_400_000, 'bytes', 'lower'),
      probe('memory', 'peak_rss_bytes', Math.round(weights + 61_000_000 + random() * 2e6), 'bytes', 'lower'),
      probe('cost', 'usd_per_million_tokens', round(0.35e6 / 3600 / decode, 5), 'USD', 'lower'),
    ],
    samples: samples(variant),
    timings: [['linear', 71], ['attention', 12.5], ['norm', 3.1], ['rope', 1.4], ['gated_activation', 2.2], ['logits', 9.8]].map(([op, ms]) => ({ op, ms: round(around(ms / speed, 0.05)) })),
    layers: layers(model, variant),
  };
}

const yaml = `name: sample-sweep
models: [${MODELS.map((m) => m.path).join(', ')}]
baseline: fp16
variants:
${VARIANTS.map(([name, format]) => `  ${name}: {format: "${format}"${name.startsWith('pruned') ? `, prune: {method: magnitude, sparsity: 0.${name.slice(-2)}}` : ''}}`).join('\n')}
tasks: [{squad_v2: {limit: 200}}, {gsm8k: {limit: 200}}, {perplexity: {convention: hf-stride}}]
probes: [latency, memory, size]
cost: {usd_per_hour: 0.35}
`;

export function sample() {
  seed = 20260101;
  return {
    lathe: '0.1.0', title: 'Sample sweep (made-up figures)', created: '2026-01-01T00:00:00Z',
    experiment: { name: 'sample-sweep', baseline: 'fp16', yaml },
    runs: MODELS.flatMap((m) => VARIANTS.map((v) => run(m, v))),
  };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const { runs, ...head } = sample();
  const text = `${JSON.stringify(head).slice(0, -1)},"runs":[\n${runs.map((r) => JSON.stringify(r)).join(',\n')}\n]}\n`;
  writeFileSync(new URL('sample.json', import.meta.url), text);
}
