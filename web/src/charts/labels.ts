// Places the names of scatter points so that none covers another or a point: right, left, above or below the point, a little up or
// down; where no place is free the name is left out (the point still has its tooltip).

import type { Screen } from './engine';

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface LabelParams {
  dataIndex: number;
  labelRect: Box;
}

const POINT = 6;
const GAP = 5;

function overlaps(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** The places to try around (x, y), best first. */
function places(x: number, y: number, width: number, height: number): Box[] {
  const right = x + POINT + GAP;
  const left = x - POINT - GAP - width;
  const at = (bx: number, by: number): Box => ({ x: bx, y: by, width, height });
  const middle = y - height / 2;
  const shifts = [0, -0.7, 0.7, -1.4, 1.4].map((f) => middle + f * height);
  return [at(right, middle), at(left, middle), at(x - width / 2, y - POINT - 3 - height), at(x - width / 2, y + POINT + 3),
    ...shifts.slice(1).flatMap((by) => [at(right, by), at(left, by)])];
}

/** A label layout for ECharts, which asks for the labels one after the other in the order of the data. */
export function placer(points: () => [number, number][], screen: Screen): (p: LabelParams) => { x: number; y: number } {
  let taken: Box[] = [];
  let spots: [number, number][] = [];
  return ({ dataIndex, labelRect }) => {
    if (dataIndex === 0) {
      spots = points();
      taken = spots.map(([x, y]) => ({ x: x - POINT, y: y - POINT, width: 2 * POINT, height: 2 * POINT }));
    }
    const [x, y] = spots[dataIndex] ?? [0, 0];
    const free = places(x, y, labelRect.width, labelRect.height).find((b) => b.y > 0 && screen.inside(b.x, y) && b.x + b.width < screen.width() && !taken.some((t) => overlaps(b, t)));
    if (!free) return { x: -9999, y: -9999 };
    taken.push(free);
    return { x: free.x, y: free.y };
  };
}
