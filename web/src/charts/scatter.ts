// Quality against a resource, with the Pareto front as the staircase of what can be had.
import type { Metric } from '../metrics';
import { valueOf, type Front, type Row } from '../rows';
import type { State } from '../state';
import { describe, labelOf, rangeOf, say, tooltip, useLog, valueAxis, whiskers } from './common';
import type { Colours, Drawing } from './engine';

export function scatter(state: State, rows: Row[], x: Metric | null, y: Metric | null, front: Front, open: (row: Row) => void) {
  return (c: Colours): Drawing | string => {
    if (!y) return 'No quality metric was measured.';
    if (!x) return 'Nothing of this kind was measured. Add the probe to the experiment: probes: [latency, memory, size].';
    const shown = rows
      .filter((r) => r.run.status === 'done' && valueOf(r, x) !== null && valueOf(r, y) !== null)
      .sort((a, b) => valueOf(a, x)! - valueOf(b, x)!);
    if (shown.length === 0) return 'No run has both figures.';
    const logX = useLog(shown, x);
    const logY = useLog(shown, y);
    const on = (r: Row): boolean => front.rows.has(r);
    const note = (r: Row): string => (on(r) ? '★ on the Pareto front' : '');
    const ranges = (m: Metric, log: boolean): number[][] => shown.flatMap((r) => {
      const ends = rangeOf(r, m, log);
      return ends ? [[valueOf(r, x)!, valueOf(r, y)!, ...ends]] : [];
    });
    const points = shown.map((r) => ({
      value: [valueOf(r, x)!, valueOf(r, y)!],
      name: labelOf(r, state),
      symbol: r.isBaseline ? 'diamond' : 'circle',
      symbolSize: r.isBaseline ? 16 : on(r) ? 12 : 10,
      itemStyle: on(r)
        ? { color: c.star, borderColor: c.panel, borderWidth: 1.5 }
        : { color: c.panel, borderColor: r.isBaseline ? c.ink : c.accent, borderWidth: 2 },
      label: { color: on(r) ? c.ink : c.muted, fontWeight: on(r) ? 600 : 400 },
    }));
    return {
      height: 380,
      summary: `${shown.length} variants. On the Pareto front: ${front.points.map((p) => labelOf(p.item, state)).join(', ') || 'none'}.`,
      targets: shown.map((r, i) => ({ seriesIndex: 0, dataIndex: i, text: say(r, [y, x], state, on(r) ? 'on the Pareto front' : ''), open: () => open(r) })),
      option: {
        animation: false,
        textStyle: { fontFamily: c.font },
        grid: { left: 24, right: 28, top: 20, bottom: 24, outerBoundsMode: 'same', outerBoundsContain: 'all' },
        tooltip: tooltip(c, (series, i) => (series === 0 && shown[i] ? describe(shown[i], [y, x], state, note(shown[i])) : '')),
        xAxis: valueAxis(x, c, logX, logX ? { nameGap: 30 } : { nameGap: 30, boundaryGap: ['4%', '10%'] }),
        yAxis: valueAxis(y, c, logY, logY ? { nameGap: 46 } : { nameGap: 46, boundaryGap: ['3%', '6%'] }),
        series: [
          {
            type: 'scatter', data: points, z: 5, cursor: 'pointer',
            label: { show: true, formatter: '{b}', position: 'right', distance: 7, fontSize: 12, textBorderColor: c.panel, textBorderWidth: 3 },
            labelLayout: { hideOverlap: true },
            emphasis: { scale: 1.5, label: { show: true, fontWeight: 600 } },
          },
          {
            type: 'line', silent: true, symbol: 'none', z: 1, data: front.points.map((p) => [p.x, p.y]),
            step: x.better === 'lower' ? 'end' : 'start',
            lineStyle: { color: c.star, width: 1.75, type: 'solid', opacity: 0.8 },
            tooltip: { show: false },
          },
          whiskers(ranges(y, logY), 'y', c.muted),
          whiskers(ranges(x, logX), 'x', c.muted),
        ],
      },
    };
  };
}
