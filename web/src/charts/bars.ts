// One metric by variant, as bars with intervals; and the paired differences from the baseline with theirs.
import { delta, interval, withUnit } from '../format';
import { fullLabel, type Metric } from '../metrics';
import { finite, valueOf, type Row } from '../rows';
import type { State } from '../state';
import { verdictWord } from '../verdict';
import { describe, labelOf, rangeOf, say, tooltip, useLog, valueAxis, whiskers } from './common';
import type { Colours, Drawing } from './engine';

const LINE = 30;
const AROUND = 76;

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

const GRID = { left: 8, right: 64, top: 8, bottom: 24, outerBoundsMode: 'same', outerBoundsContain: 'all' };

export function bars(state: State, rows: Row[], m: Metric | null, open: (row: Row) => void) {
  return (c: Colours): Drawing | string => {
    if (!m) return 'Nothing was measured.';
    const shown = rows.filter((r) => r.run.status === 'done' && valueOf(r, m) !== null);
    if (shown.length === 0) return 'No run has this figure.';
    const log = useLog(shown, m);
    const whisker = shown.flatMap((r, i) => {
      const ends = rangeOf(r, m, log);
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
        xAxis: valueAxis(m, c, log, { nameGap: 30, scale: log }),
        yAxis: names(shown, state, c),
        series: [
          {
            type: 'bar', cursor: 'pointer', barWidth: 14, z: 1,
            data: shown.map((r) => ({ value: valueOf(r, m)!, itemStyle: { color: r.isBaseline ? c.muted : c.accent, opacity: r.isBaseline ? 0.8 : 0.85, borderRadius: [0, 3, 3, 0] } })),
            emphasis: { itemStyle: { opacity: 1 } },
          },
          whiskers(whisker, 'x', c.ink),
          {
            // The figures stand in a column of their own, right of the drawing, where no whisker crosses them.
            type: 'custom', silent: true, data: shown.map((r, i) => [valueOf(r, m)!, i]), encode: { x: 0, y: 1 }, clip: false,
            renderItem: (p: { coordSys: { x: number; width: number } }, api: { value: (i: number) => number; coord: (v: number[]) => number[] }) => ({
              type: 'text',
              x: p.coordSys.x + p.coordSys.width + 8,
              y: api.coord([api.value(0), api.value(1)])[1],
              style: { text: withUnit(m, api.value(0)), fill: c.ink, fontSize: 12, fontFamily: c.font, align: 'left', verticalAlign: 'middle' },
            }),
          },
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
    const magnitude = shown.map((r) => Math.abs(cell(r).baseline_delta!)).filter((v) => v > 0).sort((a, b) => a - b);
    const middle = magnitude[Math.floor(magnitude.length / 2)] ?? 0;
    // One collapsed variant must not squeeze all others onto the zero line: those far out are drawn at the edge, with an arrow.
    const limit = middle > 0 && magnitude[magnitude.length - 1]! > 30 * middle ? 10 * middle : Infinity;
    const clip = (v: number): number => Math.max(-limit, Math.min(limit, v));
    const whisker = shown.flatMap((r, i) => {
      const { baseline_delta: d, delta_low: low, delta_high: high } = cell(r);
      return finite(low) === null || finite(high) === null ? [] : [{ value: [clip(d!), i, clip(low!), clip(high!)], colour: tone(cell(r).verdict, c) }];
    });
    const text = (r: Row): string => {
      const range = interval(m, cell(r).delta_low, cell(r).delta_high);
      return [`difference ${delta(m, cell(r).baseline_delta!)}`, range ? `interval ${range}` : '', verdictWord(cell(r).verdict)].filter(Boolean).join(', ');
    };
    const axis = valueAxis(m, c, false, { nameGap: 30, boundaryGap: ['6%', '6%'] });
    axis['name'] = `${fullLabel(m)}: difference from the baseline${Number.isFinite(limit) ? ', far ones at the edge' : ''}`;
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
              const far = Math.abs(d) > limit;
              return {
                value: [clip(d), i], symbol: far ? 'triangle' : 'circle', symbolSize: 11, symbolRotate: far ? (d > 0 ? -90 : 90) : 0,
                itemStyle: { color: tone(cell(r).verdict, c), borderColor: c.panel, borderWidth: 1.5 },
                label: { formatter: delta(m, d) },
              };
            }),
            label: { show: true, position: 'top', distance: 3, color: c.muted, fontSize: 11 },
            emphasis: { scale: 1.4 },
          },
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
