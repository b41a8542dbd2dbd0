// From runs to table rows: one row per run, its figures by metric, and the baseline row that it is compared with.
import type { Report, Result, Run } from './data';
import { fullLabel, KIND_LABELS, makeMetric, metricKey, rank, type Kind, type Metric } from './metrics';
import type { Option } from './dom';
import { front, type Point } from './pareto';

export interface Row {
  index: number;
  run: Run;
  model: string;
  variant: string;
  format: string;
  isBaseline: boolean;
  baseline: Row | null;
  cells: Map<string, Result>;
}

export interface Tables {
  rows: Row[];
  metrics: Metric[];
  models: string[];
}

const KINDS: Kind[] = ['quality', 'memory', 'speed', 'cost'];

export function finite(value: number | null | undefined): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function valueOf(row: Row | null, metric: Metric | null): number | null {
  return row && metric ? finite(row.cells.get(metric.key)?.value) : null;
}

/** True when figures spread so far that a linear scale would squeeze the good ones together. */
export function isWide(values: (number | null)[]): boolean {
  const found = values.filter((v): v is number => v !== null);
  return found.length > 1 && Math.min(...found) > 0 && Math.max(...found) / Math.min(...found) > 40;
}

export function build(report: Report): Tables {
  const metrics = new Map<string, Metric>();
  const rows = report.runs.map((run, index): Row => {
    const cells = new Map<string, Result>();
    for (const r of run.results) {
      const key = metricKey(r.task, r.metric, r.convention);
      cells.set(key, r);
      if (!metrics.has(key)) metrics.set(key, makeMetric(r));
    }
    const baseline = run.baseline ?? report.experiment?.baseline ?? null;
    return {
      index, run, cells,
      model: run.model.path,
      variant: run.variant,
      format: run.results.find((r) => r.format)?.format ?? '',
      isBaseline: baseline !== null && run.variant === baseline,
      baseline: null,
    };
  });
  for (const row of rows) row.baseline = rows.find((r) => r.isBaseline && r.model === row.model) ?? null;
  // Tasks keep the order in which the data names them, metrics of one task their usual order.
  const tasks = [...new Set([...metrics.values()].map((m) => m.task))];
  const sorted = [...metrics.values()].sort((a, b) =>
    KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
    (a.kind === 'quality' ? tasks.indexOf(a.task) - tasks.indexOf(b.task) : 0) ||
    rank(a) - rank(b));
  return { rows, metrics: sorted, models: [...new Set(rows.map((r) => r.model))] };
}

/** Model paths without the folders they share, so that labels stay short. */
export function shortModel(path: string, all: string[]): string {
  const parts = path.split('/').filter(Boolean);
  for (let keep = 1; keep <= parts.length; keep++) {
    const short = parts.slice(-keep).join('/');
    if (all.every((other) => other === path || other.split('/').filter(Boolean).slice(-keep).join('/') !== short)) return short;
  }
  return path;
}

export function options(metrics: Metric[], grouped = false): Option[] {
  return metrics.map((m) => ({ value: m.key, label: fullLabel(m), ...(grouped ? { group: KIND_LABELS[m.kind] } : {}) }));
}

export interface Front {
  points: Point<Row>[];
  rows: Set<Row>;
}

/** The front of `rows` for two measures. */
export function rowFront(rows: Row[], x: Metric | null, y: Metric | null): Front {
  if (!x || !y) return { points: [], rows: new Set() };
  const candidates = rows.flatMap((item): Point<Row>[] => {
    const px = valueOf(item, x);
    const py = valueOf(item, y);
    return item.run.status !== 'failed' && px !== null && py !== null ? [{ item, x: px, y: py }] : [];
  });
  const points = front(candidates, x.better, y.better);
  return { points, rows: new Set(points.map((p) => p.item)) };
}

/** "memory", "speed", "both" or '' */
export function frontName(row: Row, memory: Front, speed: Front): string {
  const m = memory.rows.has(row);
  const s = speed.rows.has(row);
  return m && s ? 'both' : m ? 'memory' : s ? 'speed' : '';
}
