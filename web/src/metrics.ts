// What the page knows of each metric: how it is called, what kind of figure it is, and which direction is better.
// Names not listed here still appear: their kind follows from the task, their direction from the data.

export type Kind = 'quality' | 'memory' | 'speed' | 'cost';
export type Better = 'higher' | 'lower';

interface Known {
  label: string;
  kind: Kind;
  better: Better;
  unit?: string;
}

const quality = (label: string, better: Better = 'higher'): Known => ({ label, kind: 'quality', better });
const bytes = (label: string): Known => ({ label, kind: 'memory', better: 'lower', unit: 'B' });
const ms = (label: string): Known => ({ label, kind: 'speed', better: 'lower', unit: 'ms' });
const rate = (label: string): Known => ({ label, kind: 'speed', better: 'higher', unit: 'tok/s' });

const KNOWN: Record<string, Known> = {
  f1: quality('F1'),
  exact_match: quality('Exact match'),
  has_ans_f1: quality('F1, answerable'),
  no_ans_f1: quality('F1, unanswerable'),
  strict_match: quality('Strict match'),
  flexible_match: quality('Flexible match'),
  rouge1: quality('ROUGE-1'),
  rouge2: quality('ROUGE-2'),
  rougeL: quality('ROUGE-L'),
  rougeLsum: quality('ROUGE-Lsum'),
  bleu: quality('BLEU'),
  chrf: quality('chrF'),
  acc: quality('Accuracy'),
  ppl: quality('Perplexity', 'lower'),
  word_ppl: quality('Word perplexity', 'lower'),
  bits_per_byte: quality('Bits per byte', 'lower'),
  kl_mean: quality('Mean KL', 'lower'),
  top1_agreement: quality('Top-1 agreement'),
  weights_bytes: bytes('Weights'),
  disk_bytes: bytes('On disk'),
  peak_engine_bytes: bytes('Peak, engine'),
  peak_rss_bytes: bytes('Peak, process'),
  vram_peak_bytes: bytes('Peak, GPU'),
  kv_bytes: bytes('KV cache'),
  bits_per_weight: { label: 'Bits/weight', kind: 'memory', better: 'lower', unit: 'bit' },
  decode_tokens_per_s: rate('Decode'),
  prefill_tokens_per_s: rate('Prefill'),
  ttft_ms: ms('First token'),
  itl_ms_p50: ms('Token gap p50'),
  itl_ms_p90: ms('Token gap p90'),
  itl_ms_p99: ms('Token gap p99'),
  joules_per_token: { label: 'Energy/token', kind: 'cost', better: 'lower', unit: 'J' },
  joules_per_prompt_token: { label: 'Energy/prompt token', kind: 'cost', better: 'lower', unit: 'J' },
  decode_read_gb_per_s: { label: 'Decode reads', kind: 'speed', better: 'higher', unit: 'GB/s' },
  decode_percent_of_read: { label: 'Decode, of the read ceiling', kind: 'speed', better: 'higher', unit: '%' },
  prefill_gflop_per_s: { label: 'Prefill computes', kind: 'speed', better: 'higher', unit: 'GFLOP/s' },
  usd_per_million_prompt_tokens: { label: 'Cost/M prompt tokens', kind: 'cost', better: 'lower', unit: 'USD' },
  budget_tokens: { label: 'Tokens for the budget', kind: 'cost', better: 'higher', unit: 'tokens' },
  budget_prompt_tokens: { label: 'Prompt tokens for the budget', kind: 'cost', better: 'higher', unit: 'tokens' },
  usd_per_million_tokens: { label: 'Cost/M tokens', kind: 'cost', better: 'lower', unit: 'USD' },
};
const ORDER = Object.keys(KNOWN);

const PROBE_KINDS: Record<string, Kind> = { latency: 'speed', batch: 'speed', roofline: 'speed', memory: 'memory', size: 'memory', energy: 'cost', cost: 'cost' };

export const KIND_LABELS: Record<Kind, string> = { quality: 'Quality', memory: 'Size and memory', speed: 'Speed', cost: 'Cost' };

export interface Metric {
  /** Unique in the page: task, metric and, where given, convention. */
  key: string;
  task: string;
  name: string;
  label: string;
  /** Task and convention of quality metrics, unless the label says it; '' for probes, whose names say enough. */
  detail: string;
  kind: Kind;
  unit: string;
  better: Better;
  isBytes: boolean;
}

export function metricKey(task: string, name: string, convention?: string | null): string {
  return [task, name, ...(convention ? [convention] : [])].join('/');
}

export function makeMetric(r: { task: string; metric: string; convention?: string | null; unit?: string | null; better?: string | null }): Metric {
  const known = KNOWN[r.metric];
  const isBytes = r.metric.endsWith('_bytes');
  const label = known?.label ?? r.metric;
  const saysTask = label.toLowerCase().includes(r.task.toLowerCase());
  const kind = known?.kind ?? PROBE_KINDS[r.task] ?? 'quality';
  return {
    key: metricKey(r.task, r.metric, r.convention),
    task: r.task,
    name: r.metric,
    label,
    detail: kind === 'quality' ? [saysTask ? '' : r.task, r.convention].filter(Boolean).join(', ') : '',
    kind,
    unit: isBytes ? 'B' : (known?.unit ?? r.unit ?? ''),
    better: r.better === 'lower' || r.better === 'higher' ? r.better : (known?.better ?? (isBytes ? 'lower' : 'higher')),
    isBytes,
  };
}

/** "F1 · squad_v2" */
export function fullLabel(m: Metric): string {
  return m.detail ? `${m.label} · ${m.detail}` : m.label;
}

/** Place in the usual order of metrics; unknown ones come last. */
export function rank(m: Metric): number {
  const at = ORDER.indexOf(m.name);
  return at < 0 ? ORDER.length : at;
}

const SHOWN_FIRST = new Set([
  'weights_bytes', 'peak_engine_bytes',
  'decode_tokens_per_s', 'prefill_tokens_per_s', 'ttft_ms', 'usd_per_million_tokens',
]);

/** The columns the table opens with: the main metric of each task, and what one asks first of the probes. */
export function shownByDefault(m: Metric, all: Metric[]): boolean {
  if (SHOWN_FIRST.has(m.name)) return true;
  if (m.kind !== 'quality') return false;
  // A perplexity in several conventions is shown in all of them.
  return all.find((other) => other.task === m.task && other.kind === 'quality')?.name === m.name;
}
