// The honest table: one row per variant, sortable, with intervals, differences and the Pareto marks. Failed runs stay in it.
import { toCsv } from './csv';
import { download, fileName, fill, h, s } from './dom';
import { metricFocus, type Focus } from './focus';
import { exact, interval, number, ratio, unit, unknown } from './format';
import { fullLabel, KIND_LABELS, type Kind, type Metric } from './metrics';
import { finite, frontName, shortModel, valueOf, type Row } from './rows';
import { ALL_MODELS, type State, type View } from './state';
import { verdictChip } from './verdict';

export interface TableActions {
  changed: () => void;
  open: (row: Row) => void;
}

const VARIANT = 'variant';
const FRONT = 'front';

/** Text and front columns start ascending, figures with the best first. Rows without the figure stay below. */
function sorted(rows: Row[], state: State, view: View): Row[] {
  const { sort } = state;
  if (!sort) return rows;
  const metric = state.tables.metrics.find((m) => m.key === sort.key);
  const order = ['both', 'memory', 'speed', ''];
  const compare = (a: Row, b: Row): number => {
    if (sort.key === VARIANT) return sort.direction * a.variant.localeCompare(b.variant, 'en', { numeric: true });
    if (sort.key === FRONT) {
      const place = (r: Row): number => order.indexOf(frontName(r, view.memoryFront, view.speedFront));
      return sort.direction * (place(a) - place(b));
    }
    const x = valueOf(a, metric ?? null);
    const y = valueOf(b, metric ?? null);
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    return sort.direction * (metric?.better === 'higher' ? y - x : x - y);
  };
  const failed = (r: Row): number => (r.run.status === 'failed' ? 1 : 0);
  return [...rows].sort((a, b) => failed(a) - failed(b) || compare(a, b) || a.index - b.index);
}

const GLYPH = 52;

/** How a column draws its intervals: where a figure lies on the scale that all its cells share. */
type Scale = (value: number) => number;

function glyphScale(rows: Row[], metric: Metric): Scale {
  const focus: Focus | null = metricFocus(rows, metric);
  const clip = (v: number): number => (focus ? focus.clip(v) : v);
  const ends = rows.flatMap((row) => {
    const r = row.cells.get(metric.key);
    return r ? [r.low, r.high, r.value].map(finite).filter((v): v is number => v !== null).map(clip) : [];
  });
  const min = Math.min(...ends);
  const span = Math.max(...ends) - min || 1;
  return (v) => 3 + ((GLYPH - 6) * (clip(v) - min)) / span;
}

/** A tiny drawing of the interval, with the baseline as a line. Figures far from the others lie at the edge. */
function glyph(row: Row, metric: Metric, at: Scale): SVGElement | null {
  const r = row.cells.get(metric.key);
  if (!r || finite(r.value) === null || finite(r.low) === null || finite(r.high) === null) return null;
  const base = valueOf(row.baseline, metric);
  return s('svg', { class: 'glyph', width: GLYPH, height: 10, viewBox: `0 0 ${GLYPH} 10`, 'aria-hidden': 'true' },
    base === null ? null : s('line', { class: 'base', x1: at(base), x2: at(base), y1: 0, y2: 10 }),
    s('line', { class: 'range', x1: at(r.low!), x2: Math.max(at(r.high!), at(r.low!) + 1), y1: 5, y2: 5 }),
    s('circle', { cx: at(r.value!), cy: 5, r: 2.5 }));
}

function valueCell(row: Row, metric: Metric, scale: Scale): HTMLTableCellElement {
  const r = row.cells.get(metric.key);
  const value = finite(r?.value);
  if (!r || value === null) return h('td', { class: 'num none', title: unknown(r) ?? 'not measured' }, r?.unknown ? 'unknown' : number(metric, null));
  const base = valueOf(row.baseline, metric);
  const range = interval(metric, r.low, r.high);
  const title = [exact(metric, value), range ? `interval ${range}` : null, r.n ? `${r.n} samples` : null].filter(Boolean).join('; ');
  const times = metric.kind !== 'quality' && !row.isBaseline && base !== null ? ratio(value, base) : null;
  return h('td', { class: 'num', title },
    h('div', { class: 'main' }, row.isBaseline ? null : verdictChip(metric, r), h('span', { class: 'figure' }, number(metric, value))),
    metric.kind === 'quality'
      ? h('div', { class: 'sub' }, glyph(row, metric, scale), range ? h('span', { class: 'range-text' }, range) : null)
      : times ? h('div', { class: 'sub', title: 'relative to the baseline' }, times) : null);
}

function bodyRow(row: Row, state: State, view: View, metrics: Metric[], scales: Scale[], actions: TableActions): HTMLTableRowElement {
  const failed = row.run.status === 'failed';
  const on = frontName(row, view.memoryFront, view.speedFront);
  const all = state.model === ALL_MODELS;
  const label = on === 'both' ? 'On both Pareto fronts: quality–memory and quality–speed' : `On the quality–${on} Pareto front`;
  const element = h('tr', { class: [failed ? 'failed' : '', row.isBaseline ? 'baseline' : '', on ? 'on-front' : ''].join(' ').trim(), 'data-run': row.run.id },
    h('td', { class: 'front', title: on ? label : null }, on ? [h('span', { class: 'star', 'aria-hidden': 'true' }, '★'), h('span', { class: 'sub' }, on)] : null),
    h('th', { scope: 'row', class: 'variant' },
      h('button', { type: 'button', class: 'link', 'aria-haspopup': 'dialog' }, row.variant),
      row.isBaseline ? h('span', { class: 'tag' }, 'baseline') : null,
      row.run.status === 'partial' ? h('span', { class: 'chip worse', title: row.run.error || 'no reason was recorded' }, '✕ failed in part') : null,
      h('div', { class: 'sub mono' }, [all ? shortModel(row.model, state.tables.models) : '', row.format].filter(Boolean).join(' · '))),
    failed
      ? h('td', { colspan: metrics.length, class: 'reason' }, h('div', {}, h('span', { class: 'chip worse' }, '✕ failed'), ' ', row.run.error || 'no reason was recorded'))
      : metrics.map((m, i) => valueCell(row, m, scales[i]!)));
  element.addEventListener('click', () => {
    if (!String(getSelection() ?? '')) actions.open(row);
  });
  return element;
}

function header(state: State, metrics: Metric[], actions: TableActions): HTMLTableSectionElement {
  const pick = (key: string): void => {
    const same = state.sort?.key === key;
    state.sort = !same ? { key, direction: 1 } : state.sort!.direction === 1 ? { key, direction: -1 } : null;
    actions.changed();
  };
  const cell = (key: string, label: string, detail: string, cls: string, title: string, better?: string): HTMLTableCellElement => {
    const active = state.sort?.key === key ? state.sort.direction : 0;
    // Best first is descending where higher is better.
    const ascending = active === (better === 'higher' ? -1 : 1);
    return h('th', { scope: 'col', class: cls, 'aria-sort': active ? (ascending ? 'ascending' : 'descending') : null },
      h('button', { type: 'button', class: 'sort', title, 'data-sort': key, onclick: () => pick(key) },
        h('span', { class: 'label' }, label, h('span', { class: 'arrow', 'aria-hidden': 'true' }, active ? (ascending ? '▴' : '▾') : '')),
        h('span', { class: 'sub' }, detail)));
  };
  const kinds = [...new Set(metrics.map((m) => m.kind))];
  const width = (kind: Kind): number => metrics.filter((m) => m.kind === kind).length;
  const starts = new Set(kinds.map((k) => metrics.find((m) => m.kind === k)?.key));
  return h('thead', {},
    h('tr', { class: 'groups' },
      h('td', { colspan: 2, class: 'variant' }),
      kinds.map((k) => h('th', { scope: 'colgroup', colspan: width(k) }, KIND_LABELS[k]))),
    h('tr', { class: 'names' },
      cell(FRONT, '★', 'front', 'front', 'Pareto front for the measures chosen above'),
      cell(VARIANT, 'Variant', 'format', 'variant', 'Sort by name'),
      metrics.map((m) => cell(m.key, m.label, `${[m.detail, unit(m)].filter(Boolean).join(', ')} ${m.better === 'higher' ? '↑' : '↓'}`,
        starts.has(m.key) ? 'num first' : 'num', `Sort by ${fullLabel(m)} (${m.better} is better)`, m.better))));
}

function columnsMenu(state: State, redraw: () => void): HTMLElement {
  const kinds = [...new Set(state.tables.metrics.map((m) => m.kind))];
  return h('details', { class: 'menu' }, h('summary', { class: 'button' }, 'Columns'),
    h('div', { class: 'menu-body' }, kinds.map((k) => h('fieldset', {}, h('legend', {}, KIND_LABELS[k]),
      state.tables.metrics.filter((m) => m.kind === k).map((m) => {
        const box = h('input', { type: 'checkbox', checked: state.columns.has(m.key), onchange: () => {
          if (box.checked) state.columns.add(m.key);
          else state.columns.delete(m.key);
          redraw();
        } });
        return h('label', {}, box, ` ${fullLabel(m)}`);
      })))));
}

export interface TableView {
  element: HTMLElement;
  draw: (view: View) => void;
  /** The rows in the order in which they are shown. */
  order: () => Row[];
}

export function makeTable(state: State, actions: TableActions): TableView {
  const table = h('table', { class: 'honest' });
  let shown: Row[] = [];
  let last: View | null = null;
  const metrics = (): Metric[] => state.tables.metrics.filter((m) => state.columns.has(m.key));
  const draw = (v: View): void => {
    last = v;
    shown = sorted(v.rows, state, v);
    const list = metrics();
    const scales = list.map((m) => glyphScale(v.rows, m));
    const focus = document.activeElement?.getAttribute('data-sort');
    fill(table, h('caption', { class: 'visually-hidden' }, 'One row per variant; activate a column heading to sort, a variant to see its details'),
      header(state, list, actions), h('tbody', {}, shown.map((row) => bodyRow(row, state, v, list, scales, actions))));
    if (focus) [...table.querySelectorAll<HTMLElement>('[data-sort]')].find((b) => b.dataset['sort'] === focus)?.focus();
  };
  const csv = (): void => {
    if (last) download(`${fileName(state.report.title)}.csv`, new Blob([toCsv(shown, metrics(), last)], { type: 'text/csv;charset=utf-8' }));
  };
  const element = h('section', { class: 'card', 'aria-label': 'Results' },
    h('div', { class: 'card-head' }, h('h2', {}, 'Variants'),
      h('p', { class: 'hint' }, '★ no other variant is at least as good in both measures and better in one · ↑ higher, ↓ lower is better'),
      h('div', { class: 'actions' }, columnsMenu(state, () => { if (last) draw(last); }), h('button', { type: 'button', class: 'button', onclick: csv }, 'CSV'))),
    h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Results table, scrolls' }, table));
  return { element, draw, order: () => shown };
}
