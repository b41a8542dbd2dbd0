// Memory of a run's process over time, with its phases.
import type { Run } from '../data';
import { bytes } from '../format';
import type { Colours, Drawing } from './engine';

export function timeline(run: Run) {
  return (c: Colours): Drawing | string => {
    const points = run.memory?.points ?? [];
    if (points.length < 2) return 'No memory timeline was kept for this run.';
    const phases = run.memory?.phases ?? [];
    const peak = points.reduce((a, b) => (b[1] > a[1] ? b : a));
    const phaseAt = (ms: number): string => [...phases].reverse().find((p) => p.ms <= ms)?.name ?? '';
    return {
      height: 300,
      summary: `Resident memory over ${(points[points.length - 1]![0] / 1000).toFixed(1)} seconds; peak ${bytes(peak[1])} during ${phaseAt(peak[0])}.`,
      targets: points.map((p, i) => ({ seriesIndex: 0, dataIndex: i, text: `${(p[0] / 1000).toFixed(1)} s, ${bytes(p[1])}, ${phaseAt(p[0])}`, open: () => undefined })),
      option: {
        animation: false,
        textStyle: { fontFamily: c.font },
        grid: { left: 16, right: 24, top: 34, bottom: 8, outerBoundsMode: 'same', outerBoundsContain: 'all' },
        xAxis: { type: 'value', name: 'seconds', nameLocation: 'middle', nameGap: 28, nameTextStyle: { color: c.muted }, axisLabel: { color: c.muted }, axisLine: { show: true, lineStyle: { color: c.line } }, splitLine: { show: false } },
        yAxis: { type: 'value', min: 0, axisLabel: { color: c.muted, formatter: (v: number) => bytes(v) }, splitLine: { lineStyle: { color: c.line, opacity: 0.55 } } },
        series: [
          { type: 'line', data: points.map((p) => [p[0] / 1000, p[1]]), symbol: 'none', lineStyle: { color: c.accent, width: 1.75 }, areaStyle: { color: c.accent, opacity: 0.12 } },
          {
            type: 'custom', silent: true, clip: false, data: phases.map((p) => [p.ms / 1000, 0]), encode: { x: 0 },
            renderItem: (p: { dataIndex: number; coordSys: { x: number; y: number; height: number } }, api: { coord: (v: number[]) => number[] }) => {
              const x = api.coord([phases[p.dataIndex]!.ms / 1000, 0])[0]!;
              const style = { text: phases[p.dataIndex]!.name, fill: c.muted, fontSize: 11, fontFamily: c.font };
              return { type: 'group', children: [
                { type: 'line', shape: { x1: x, x2: x, y1: p.coordSys.y, y2: p.coordSys.y + p.coordSys.height }, style: { stroke: c.line, lineDash: [3, 3] } },
                { type: 'text', x: x + 3, y: p.coordSys.y - 14 - 11 * (p.dataIndex % 2), style },
              ] };
            },
          },
        ],
      },
    };
  };
}
