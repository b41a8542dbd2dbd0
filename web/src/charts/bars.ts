// One metric by variant, as bars with intervals; and the paired differences from the baseline with theirs.
import { deltaFocus, metricFocus } from '../focus';
import { delta, interval, unit, withUnit } from '../format';
import { fullLabel, type Metric } from '../metrics';
import { finite, valueOf, type Row } from '../rows';
import type { State } from '../state';
import { verdictWord } from '../verdict';
import { describe, labelOf, rangeOf, say, tooltip, valueAxis, whiskers } from './common';
import type { Colours, Drawing } from './engine';

const LINE = 30;
const AROUND = 62;

function names(rows: Row[], state: State, c: Colours): Record<string, unknown> {
  return {
    type: 'category',
    inverse: true,
    data: rows.map((r) => labelOf(r, state)),
    axisLabel: { color: c.ink, fontSize: 12, interval: 0, width: 150, overflow: 'truncate' },
    axisLine: { show: true, onZero: false, lineStyle: { color: c.line } },
    axisTick: { show: false },
  };
}

const GRID = { left: 8, right: 64, top: 8, bottom: 8, outerBoundsMode: 'same', outerBoundsContain: 'all' };

/** A column of figures right of the drawing, where no whisker crosses them. */
function figures(list: { text: string; colour: string }[], c: Colours): Record<string, unknown> {
  return {
    type: 'custom', silent: true, data: list.map((_, i) => [0, i]), encode: { x: 0, y: 1 }, clip: false, tooltip: { show: false },
    renderItem: (p: { dataIndex: number; coordSys: { x: number; width: number } }, api: { coord: (v: number[]) => number[] }) => ({
      type: 'text',
      x: p.coordSys.x + p.coordSys.width + 8,
      y: api.coord([0, p.dataIndex])[1],
      style: { text: list[p.dataIndex]!.text, fill: list[p.dataIndex]!.colour, fontSize: 12, fontFamily: c.font, align: 'left', verticalAlign: 'middle' },
    }),
  };
}

export function bars(state: State, rows: Row[], m: Metric | null, open: (row: Row) => void) {
  return (c: Colours): Drawing | string => {
    if (!m) return 'Nothing was measured.';
    const shown = rows.filter((r) => r.run.status !== 'failed' && valueOf(r, m) !== null);
    if (shown.length === 0) return 'No run has this figure.';
    // Bars start at zero, so only what rises far above the others is cut, and marked by an arrow.
    const focus = state.full ? null : metricFocus(shown, m);
    const top = focus ? focus.high : Infinity;
    const cut = (r: Row): boolean => valueOf(r, m)! > top;
    const whisker = shown.flatMap((r, i) => {
      const ends = cut(r) ? null : rangeOf(r, m, false);
      return ends ? [[valueOf(r, m)!, i, ...ends]] : [];
    });
    return {
      height: shown.length * LINE + AROUND,
      summary: `${fullLabel(m)} of ${shown.length} variants.`,
      targets: shown.map((r, i) => ({ seriesIndex: 0, dataIndex: i, text: say(r, [m], state), open: () => open(r) })),
      option: {
        animation: false,
        textStyle: { fontFamily: c.font },
        grid: GRID,
        tooltip: tooltip(c, (series, i) => (series === 0 && shown[i] ? describe(shown[i], [m], state) : '')),
        xAxis: valueAxis(m, c, false, { nameGap: 30, scale: false }),
        yAxis: names(shown, state, c),
        series: [
          {
            type: 'bar', cursor: 'pointer', barWidth: 14, z: 1,
            data: shown.map((r) => ({
              value: Math.min(valueOf(r, m)!, top),
              itemStyle: { color: r.isBaseline ? c.muted : c.accent, opacity: r.isBaseline ? 0.8 : 0.85, borderRadius: cut(r) ? 0 : [0, 3, 3, 0] },
              label: { show: cut(r) },
            })),
            label: { formatter: '▶▶', position: 'insideRight', color: c.panel, fontSize: 10 },
            emphasis: { itemStyle: { opacity: 1 } },
          },
          whiskers(whisker, 'x', c.ink),
          figures(shown.map((r) => ({ text: withUnit(m, valueOf(r, m)), colour: c.ink })), c),
        ],
      },
    };
  };
}

function tone(verdict: string | null | undefined, c: Colours): string {
  return verdict === 'worse' ? c.worse : verdict === 'better' ? c.better : c.muted;
}

export function differences(state: State, rows: Row[], m: Metric | null, open: (row: Row) => void) {
  return (c: Colours): Drawing | string => {
    if (!m) return 'No quality metric was measured.';
    const shown = rows.filter((r) => !r.isBaseline && finite(r.cells.get(m.key)?.baseline_delta) !== null);
    if (shown.length === 0) return 'No run was compared with the baseline in this metric.';
    const cell = (r: Row) => r.cells.get(m.key)!;
    const focus = state.full ? null : deltaFocus(shown, m);
    const clip = (v: number): number => (focus ? focus.clip(v) : v);
    const whisker = shown.flatMap((r, i) => {
      const { baseline_delta: d, delta_low: low, delta_high: high } = cell(r);
      return finite(low) === null || finite(high) === null || focus?.far(d!) ? [] : [{ value: [clip(d!), i, clip(low!), clip(high!)], colour: tone(cell(r).verdict, c) }];
    });
    const text = (r: Row): string => {
      const range = interval(m, cell(r).delta_low, cell(r).delta_high);
      return [`difference ${delta(m, cell(r).baseline_delta!)}`, range ? `interval ${range}` : '', verdictWord(cell(r).verdict)].filter(Boolean).join(', ');
    };
    const axis = valueAxis(m, c, false, { nameGap: 30, boundaryGap: ['6%', '6%'] });
    axis['name'] = `${fullLabel(m)}: difference from the baseline${unit(m) ? ` (${unit(m) === '%' ? 'points' : unit(m)})` : ''}`;
    return {
      height: shown.length * LINE + AROUND,
      summary: shown.map((r) => `${labelOf(r, state)}: ${text(r)}.`).join(' '),
      targets: shown.map((r, i) => ({ seriesIndex: 0, dataIndex: i, text: `${labelOf(r, state)}, ${text(r)}`, open: () => open(r) })),
      option: {
        animation: false,
        textStyle: { fontFamily: c.font },
        grid: GRID,
        tooltip: tooltip(c, (series, i) => (series === 0 && shown[i] ? describe(shown[i], [m], state, text(shown[i])) : '')),
        xAxis: axis,
        yAxis: names(shown, state, c),
        series: [
          {
            type: 'scatter', cursor: 'pointer', z: 5,
            data: shown.map((r, i) => {
              const d = cell(r).baseline_delta!;
              const far = focus !== null && focus.far(d);
              return {
                value: [clip(d), i], symbol: far ? 'triangle' : 'circle', symbolSize: 11, symbolRotate: far ? (d > 0 ? -90 : 90) : 0,
                itemStyle: { color: tone(cell(r).verdict, c), borderColor: c.panel, borderWidth: 1.5 },
              };
            }),
            emphasis: { scale: 1.4 },
          },
          figures(shown.map((r) => ({ text: delta(m, cell(r).baseline_delta!), colour: tone(cell(r).verdict, c) })), c),
          {
            type: 'custom', silent: true, z: 0, data: [[0, 0]], encode: { x: 0 },
            renderItem: (p: { coordSys: { y: number; height: number } }, api: { coord: (v: number[]) => number[] }) => {
              const at = api.coord([0, 0])[0]!;
              return { type: 'line', shape: { x1: at, x2: at, y1: p.coordSys.y, y2: p.coordSys.y + p.coordSys.height }, style: { stroke: c.ink, lineWidth: 1.25 } };
            },
          },
          ...[...new Set(whisker.map((w) => w.colour))].map((colour) => whiskers(whisker.filter((w) => w.colour === colour).map((w) => w.value), 'x', colour, 2)),
        ],
      },
    };
  };
}
