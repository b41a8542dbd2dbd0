// All figures of one run, by kind, with interval, sample count and comparison.
import { h, type Child } from '../dom';
import { exact, interval, ratio, unknown, withUnit } from '../format';
import { KIND_LABELS, type Kind, type Metric } from '../metrics';
import { finite, valueOf, type Row } from '../rows';
import type { State } from '../state';
import { verdictChip } from '../verdict';

function line(row: Row, m: Metric): HTMLTableRowElement {
  const r = row.cells.get(m.key)!;
  const value = valueOf(row, m);
  const base = valueOf(row.baseline, m);
  return h('tr', {},
    h('th', { scope: 'row' }, m.label, h('span', { class: 'sub' }, ` ${m.kind === 'quality' ? m.detail : m.task}`)),
    h('td', { class: 'num figure', title: unknown(r) ?? exact(m, r.value) }, unknown(r) ?? withUnit(m, r.value)),
    h('td', { class: 'num' }, interval(m, r.low, r.high) ?? '–'),
    h('td', { class: 'num' }, finite(r.n) === null ? '–' : String(r.n)),
    row.isBaseline ? null : [
      h('td', { class: 'num', title: exact(m, base) }, withUnit(m, base)),
      h('td', { class: 'num' }, verdictChip(m, r, true) ?? (value === null || base === null ? null : ratio(value, base)) ?? '–'),
      h('td', { class: 'num' }, interval(m, r.delta_low, r.delta_high) ?? '–'),
    ]);
}

export function results(row: Row, state: State): Child {
  const found = state.tables.metrics.filter((m) => row.cells.has(m.key));
  if (found.length === 0) return h('p', { class: 'empty' }, 'This run has no results.');
  const kinds = [...new Set(found.map((m) => m.kind))];
  const heads = ['Value', 'Interval', 'n', ...(row.isBaseline ? [] : ['Baseline', 'Difference', 'Its interval'])];
  const group = (kind: Kind): Child => h('tbody', {},
    h('tr', { class: 'group' }, h('th', { scope: 'rowgroup', colspan: heads.length + 1 }, KIND_LABELS[kind])),
    found.filter((m) => m.kind === kind).map((m) => line(row, m)));
  return h('table', { class: 'plain' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Metric'), heads.map((t) => h('th', { scope: 'col', class: 'num' }, t)))),
    kinds.map(group));
}
