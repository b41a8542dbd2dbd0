// What all charts share: axes, tooltips, whiskers.
import { h, type Child } from '../dom';
import { exact, interval, number, unit, withUnit } from '../format';
import { fullLabel, type Metric } from '../metrics';
import { finite, isWide, shortModel, valueOf, type Row } from '../rows';
import { ALL_MODELS, type State } from '../state';
import { verdictChip } from '../verdict';
import type { Colours } from './engine';

export function labelOf(row: Row, state: State): string {
  return state.model === ALL_MODELS && state.tables.models.length > 1 ? `${row.variant} · ${shortModel(row.model, state.tables.models)}` : row.variant;
}

/** Round figures for axis ticks; unlike `number`, without needless decimals. */
function tick(m: Metric, value: number): string {
  if (m.isBytes) return number(m, value).replace(/(\.\d*?)0+(?= )/, '$1').replace(/\.(?= )/, '');
  return Math.abs(value) >= 1e6 ? value.toExponential(0).replace('e+', 'e') : String(Number(value.toPrecision(6)));
}

export function axisName(m: Metric): string {
  const u = unit(m);
  return `${fullLabel(m)}${u ? ` (${u})` : ''}, ${m.better} is better`;
}

/** Whether a metric's figures are shown on a logarithmic scale. */
export function useLog(rows: Row[], m: Metric): boolean {
  return isWide(rows.map((r) => valueOf(r, m)));
}

export function valueAxis(m: Metric, c: Colours, log: boolean, extra: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: log ? 'log' : 'value',
    name: axisName(m) + (log ? ', log scale' : ''),
    nameLocation: 'middle',
    nameTextStyle: { color: c.muted, fontSize: 12 },
    scale: true,
    axisLabel: { color: c.muted, fontSize: 12, hideOverlap: true, formatter: (v: number) => tick(m, v) },
    axisLine: { show: true, lineStyle: { color: c.line } },
    axisTick: { show: true, lineStyle: { color: c.line } },
    splitLine: { lineStyle: { color: c.line, opacity: 0.55 } },
    ...extra,
  };
}

export function tooltip(c: Colours, content: (seriesIndex: number, dataIndex: number) => HTMLElement | ''): Record<string, unknown> {
  return {
    trigger: 'item',
    confine: true,
    backgroundColor: c.panel,
    borderColor: c.line,
    textStyle: { color: c.ink, fontSize: 13 },
    className: 'tooltip',
    transitionDuration: 0.1,
    // An element, never a string: ECharts would read a string as HTML.
    formatter: (p: { seriesIndex: number; dataIndex: number }) => content(p.seriesIndex, p.dataIndex),
  };
}

/** The tooltip of one variant: its name and the given metrics. */
export function describe(row: Row, metrics: (Metric | null)[], state: State, note = ''): HTMLElement {
  const line = (m: Metric): Child => {
    const r = row.cells.get(m.key);
    const range = r ? interval(m, r.low, r.high) : null;
    return h('div', { class: 'tip-line', title: exact(m, r?.value) }, h('span', {}, fullLabel(m)),
      h('span', { class: 'tip-value' }, withUnit(m, r?.value), range ? h('span', { class: 'tip-range' }, ` ${range}`) : null, ' ',
        r && !row.isBaseline ? verdictChip(m, r) : null));
  };
  return h('div', {}, h('div', { class: 'tip-title' }, labelOf(row, state), row.isBaseline ? h('span', { class: 'tag' }, 'baseline') : null),
    row.format ? h('div', { class: 'tip-format' }, row.format) : null,
    metrics.filter((m): m is Metric => m !== null).map(line), note ? h('div', { class: 'tip-note' }, note) : null);
}

/** The same in words, for screen readers. */
export function say(row: Row, metrics: (Metric | null)[], state: State, note = ''): string {
  const figures = metrics.filter((m): m is Metric => m !== null).map((m) => `${fullLabel(m)} ${withUnit(m, row.cells.get(m.key)?.value)}`);
  return [labelOf(row, state), ...figures, note].filter(Boolean).join(', ');
}

type Api = { value: (i: number) => number; coord: (p: number[]) => number[] };

/** A series of whiskers. Data items are [x, y, low, high]; `along` says which axis the interval lies on. */
export function whiskers(data: number[][], along: 'x' | 'y', colour: string, width = 1.25): Record<string, unknown> {
  return {
    type: 'custom',
    silent: true,
    z: 2,
    data,
    encode: along === 'y' ? { x: 0, y: [1, 2, 3] } : { x: [0, 2, 3], y: 1 },
    tooltip: { show: false },
    renderItem: (_: unknown, api: Api) => {
      const end = (v: number): number[] => api.coord(along === 'y' ? [api.value(0), v] : [v, api.value(1)]);
      const [x1, y1] = end(api.value(2)) as [number, number];
      const [x2, y2] = end(api.value(3)) as [number, number];
      const cap = 3.5;
      const [dx, dy] = along === 'y' ? [cap, 0] : [0, cap];
      const line = (a: number, b: number, e: number, f: number): unknown => ({ type: 'line', shape: { x1: a, y1: b, x2: e, y2: f }, style: { stroke: colour, lineWidth: width } });
      return { type: 'group', children: [line(x1, y1, x2, y2), line(x1 - dx, y1 - dy, x1 + dx, y1 + dy), line(x2 - dx, y2 - dy, x2 + dx, y2 + dy)] };
    },
  };
}

/** low and high of a cell, if it has both (and both can stand on the scale). */
export function rangeOf(row: Row, m: Metric, log: boolean): [number, number] | null {
  const r = row.cells.get(m.key);
  const low = finite(r?.low);
  const high = finite(r?.high);
  return low === null || high === null || (log && low <= 0) ? null : [low, high];
}
