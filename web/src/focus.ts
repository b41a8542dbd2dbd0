// Keeps one collapsed variant from squeezing all others together: figures far from the rest are drawn at the edge of a chart,
// marked as such and with their figure written beside them. The reader can switch this off.
import type { Metric } from './metrics';
import { finite, valueOf, type Row } from './rows';

export interface Span {
  value: number;
  low: number | null;
  high: number | null;
}

export interface Focus {
  far: (value: number) => boolean;
  /** The value, or the edge of the chart where it lies beyond it. */
  clip: (value: number) => number;
  high: number;
}

const GAP = 4;

/**
 * Sorted by distance from `origin`, figures are far from the first gap on that is over four times the distance before it (and over four
 * times the usual interval). At most a third of all can be far. Null when none is.
 */
export function focus(items: Span[], origin: number): Focus | null {
  const sorted = items.map((item) => ({ item, distance: Math.abs(item.value - origin) })).sort((a, b) => a.distance - b.distance);
  const halves = items.map((i) => (i.low === null || i.high === null ? 0 : (i.high - i.low) / 2)).sort((a, b) => a - b);
  const usual = halves[Math.floor(halves.length / 2)] ?? 0;
  for (let k = Math.max(2, Math.ceil((2 * sorted.length) / 3)); k < sorted.length; k++) {
    const before = Math.max(sorted[k - 1]!.distance, usual);
    if (before <= 0 || sorted[k]!.distance <= GAP * before) continue;
    const ends = sorted.slice(0, k).flatMap(({ item }) => [item.value, item.low ?? item.value, item.high ?? item.value]);
    const margin = 0.12 * (Math.max(...ends) - Math.min(...ends));
    const low = Math.min(...ends) - margin;
    const high = Math.max(...ends) + margin;
    return { far: (v) => v < low || v > high, clip: (v) => Math.max(low, Math.min(high, v)), high };
  }
  return null;
}

/** The focus of one metric among `rows`, seen from the best of them. */
export function metricFocus(rows: Row[], m: Metric): Focus | null {
  const spans = rows.flatMap((row): Span[] => {
    const r = row.cells.get(m.key);
    const value = valueOf(row, m);
    return r && value !== null ? [{ value, low: finite(r.low), high: finite(r.high) }] : [];
  });
  if (spans.length === 0) return null;
  const values = spans.map((p) => p.value);
  return focus(spans, m.better === 'higher' ? Math.max(...values) : Math.min(...values));
}

/** The same for the differences from the baseline, seen from zero. */
export function deltaFocus(rows: Row[], m: Metric): Focus | null {
  const spans = rows.flatMap((row): Span[] => {
    const r = row.cells.get(m.key);
    const value = finite(r?.baseline_delta);
    return r && value !== null && !row.isBaseline ? [{ value, low: finite(r.delta_low), high: finite(r.delta_high) }] : [];
  });
  return focus(spans, 0);
}
