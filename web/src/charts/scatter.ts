// Quality against a resource, with the Pareto front as the staircase of what can be had.
import { metricFocus } from '../focus';
import { number } from '../format';
import type { Metric } from '../metrics';
import { valueOf, type Front, type Row } from '../rows';
import type { State } from '../state';
import { describe, labelOf, rangeOf, say, tooltip, useLog, valueAxis, whiskers } from './common';
import type { Colours, Drawing, Screen } from './engine';
import { placer } from './labels';

export function scatter(state: State, rows: Row[], x: Metric | null, y: Metric | null, front: Front, open: (row: Row) => void) {
  return (c: Colours, screen: Screen): Drawing | string => {
    if (!y) return 'No quality metric was measured.';
    if (!x) return 'Nothing of this kind was measured. Add the probe to the experiment: probes: [latency, memory, size].';
    // Labels find their places in this order: the front first, then the baseline.
    const weight = (r: Row): number => (front.rows.has(r) ? 0 : r.isBaseline ? 1 : 2);
    const shown = rows
      .filter((r) => r.run.status !== 'failed' && valueOf(r, x) !== null && valueOf(r, y) !== null)
      .sort((a, b) => weight(a) - weight(b) || valueOf(a, x)! - valueOf(b, x)!);
    if (shown.length === 0) return 'No run has both figures.';
    const logX = useLog(shown, x);
    const focus = state.full ? null : metricFocus(shown, y);
    const far = (r: Row): boolean => focus !== null && focus.far(valueOf(r, y)!);
    const height = (v: number): number => (focus ? focus.clip(v) : v);
    const on = (r: Row): boolean => front.rows.has(r);
    const note = (r: Row): string => [on(r) ? '★ on the Pareto front' : '', far(r) ? 'beyond the edge of the chart' : ''].filter(Boolean).join('; ');
    const ranges = (m: Metric, log: boolean): number[][] => shown.flatMap((r) => {
      const ends = far(r) ? null : rangeOf(r, m, log);
      return ends ? [[valueOf(r, x)!, valueOf(r, y)!, ...ends]] : [];
    });
    const points = shown.map((r) => ({
      value: [valueOf(r, x)!, height(valueOf(r, y)!)],
      name: labelOf(r, state) + (far(r) ? ` (${number(y, valueOf(r, y))})` : ''),
      symbol: far(r) ? 'triangle' : r.isBaseline ? 'diamond' : 'circle',
      symbolRotate: far(r) && height(valueOf(r, y)!) > valueOf(r, y)! ? 180 : 0,
      symbolSize: r.isBaseline ? 16 : on(r) ? 12 : 10,
      itemStyle: on(r)
        ? { color: c.star, borderColor: c.panel, borderWidth: 1.5 }
        : { color: c.panel, borderColor: r.isBaseline ? c.ink : c.accent, borderWidth: 2 },
      label: { color: on(r) ? c.ink : c.muted, fontWeight: on(r) ? 600 : 400 },
    }));
    return {
      height: 380,
      summary: `${shown.length} variants. On the Pareto front: ${front.points.map((p) => labelOf(p.item, state)).join(', ') || 'none'}.`,
      targets: shown
        .map((r, i) => ({ seriesIndex: 0, dataIndex: i, text: say(r, [y, x], state, on(r) ? 'on the Pareto front' : ''), open: () => open(r), at: valueOf(r, x)! }))
        .sort((a, b) => a.at - b.at),
      option: {
        animation: false,
        textStyle: { fontFamily: c.font },
        grid: { left: 24, right: 28, top: 20, bottom: 8, outerBoundsMode: 'same', outerBoundsContain: 'all' },
        tooltip: tooltip(c, (series, i) => (series === 0 && shown[i] ? describe(shown[i], [y, x], state, note(shown[i])) : '')),
        xAxis: valueAxis(x, c, logX, logX ? { nameGap: 30 } : { nameGap: 30, boundaryGap: ['4%', '10%'] }),
        yAxis: valueAxis(y, c, false, { nameGap: 46, boundaryGap: ['4%', '6%'] }),
        series: [
          {
            type: 'scatter', data: points, z: 5, cursor: 'pointer',
            label: { show: true, formatter: '{b}', fontSize: 12, textBorderColor: c.panel, textBorderWidth: 3 },
            labelLayout: placer(() => shown.map((r) => screen.at(valueOf(r, x)!, height(valueOf(r, y)!))), screen),
            emphasis: { scale: 1.5, label: { show: true, fontWeight: 600 } },
          },
          {
            type: 'line', silent: true, symbol: 'none', z: 1, data: front.points.map((p) => [p.x, height(p.y)]),
            step: x.better === 'lower' ? 'end' : 'start',
            lineStyle: { color: c.star, width: 1.75, type: 'solid', opacity: 0.8 },
            tooltip: { show: false },
          },
          whiskers(ranges(y, false), 'y', c.muted),
          whiskers(ranges(x, logX), 'x', c.muted),
        ],
      },
    };
  };
}
