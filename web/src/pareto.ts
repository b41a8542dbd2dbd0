// The Pareto front of two measures. A point is on it when no other is at least as good in both and better in one; equal points
// are all on it. Points that lack either measure do not take part.
import type { Better } from './metrics';

export interface Point<T> {
  item: T;
  x: number;
  y: number;
}

/** The points on the front, sorted by x ascending. */
export function front<T>(points: Point<T>[], xBetter: Better, yBetter: Better): Point<T>[] {
  const sx = xBetter === 'higher' ? 1 : -1;
  const sy = yBetter === 'higher' ? 1 : -1;
  const usable = points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  const beats = (a: Point<T>, b: Point<T>): boolean => {
    const dx = sx * (a.x - b.x);
    const dy = sy * (a.y - b.y);
    return dx >= 0 && dy >= 0 && (dx > 0 || dy > 0);
  };
  return usable.filter((p) => !usable.some((q) => beats(q, p))).sort((a, b) => a.x - b.x || sy * (a.y - b.y));
}
