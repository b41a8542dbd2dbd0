// What the reader has chosen, and what follows from it. One object; whoever changes it calls `changed`.
import type { Report } from './data';
import { shownByDefault, type Kind, type Metric } from './metrics';
import { build, rowFront, type Front, type Row, type Tables } from './rows';

export const ALL_MODELS = '';

export interface State {
  report: Report;
  tables: Tables;
  model: string;
  quality: Metric | null;
  memory: Metric | null;
  speed: Metric | null;
  cost: Metric | null;
  bar: Metric | null;
  columns: Set<string>;
  /** Draw far-off figures to scale instead of at the edge. */
  full: boolean;
  sort: { key: string; direction: 1 | -1 } | null;
  /** Shows only rows whose variant, format or model holds this. */
  filter: string;
}

export function ofKind(state: State, kind: Kind): Metric[] {
  return state.tables.metrics.filter((m) => m.kind === kind);
}

function prefer(metrics: Metric[], names: string[]): Metric | null {
  for (const name of names) {
    const found = metrics.find((m) => m.name === name);
    if (found) return found;
  }
  return metrics[0] ?? null;
}

export function initialState(report: Report): State {
  const tables = build(report);
  const kind = (k: Kind): Metric[] => tables.metrics.filter((m) => m.kind === k);
  const quality = prefer(kind('quality'), ['f1', 'exact_match', 'strict_match', 'acc', 'rougeL', 'bleu', 'ppl']);
  return {
    report,
    tables,
    model: tables.models[0] ?? ALL_MODELS,
    quality,
    memory: prefer(kind('memory'), ['weights_bytes', 'disk_bytes', 'peak_engine_bytes']),
    speed: prefer(kind('speed'), ['decode_tokens_per_s', 'prefill_tokens_per_s', 'ttft_ms']),
    cost: prefer(kind('cost'), ['usd_per_million_tokens', 'joules_per_token']),
    bar: quality ?? tables.metrics[0] ?? null,
    columns: new Set(tables.metrics.filter((m) => shownByDefault(m, tables.metrics)).map((m) => m.key)),
    full: false,
    sort: null,
    filter: '',
  };
}

/** The same choices over newer data. */
export function carryOver(report: Report, old: State): State {
  const state = initialState(report);
  const same = (m: Metric | null): Metric | null => state.tables.metrics.find((x) => x.key === m?.key) ?? null;
  if (old.model === ALL_MODELS || state.tables.models.includes(old.model)) state.model = old.model;
  for (const key of ['quality', 'memory', 'speed', 'cost', 'bar'] as const) state[key] = same(old[key]) ?? state[key];
  const known = new Set(old.tables.metrics.map((m) => m.key));
  for (const m of state.tables.metrics) {
    if (known.has(m.key)) state.columns[old.columns.has(m.key) ? 'add' : 'delete'](m.key);
  }
  return Object.assign(state, { full: old.full, sort: old.sort, filter: old.filter });
}

export interface View {
  rows: Row[];
  memoryFront: Front;
  speedFront: Front;
  costFront: Front;
}

/** Every word of the filter occurs somewhere. */
function holds(row: Row, filter: string): boolean {
  const text = [row.variant, row.format, row.model, row.run.status].join(' ').toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The rows of the chosen model, and the two fronts among them. */
export function view(state: State): View {
  const rows = state.tables.rows.filter((r) => (state.model === ALL_MODELS || r.model === state.model) && holds(r, state.filter));
  return { rows, memoryFront: rowFront(rows, state.memory, state.quality), speedFront: rowFront(rows, state.speed, state.quality), costFront: rowFront(rows, state.cost, state.quality) };
}
