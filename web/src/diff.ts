// Word by word difference of two texts (longest common subsequence), for showing a prediction beside the baseline's.

export interface Piece {
  text: string;
  same: boolean;
}

/** Above this many cells the table would be slow; the differing middle is then marked as a whole. */
const MAX_CELLS = 4_000_000;

function words(text: string): string[] {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

function join(pieces: Piece[]): Piece[] {
  const out: Piece[] = [];
  for (const p of pieces) {
    const last = out[out.length - 1];
    if (last && last.same === p.same) last.text += p.text;
    else if (p.text) out.push({ ...p });
  }
  return out;
}

/** Both texts cut into pieces that are common to both, or stand only in that one. */
export function diff(left: string, right: string): { left: Piece[]; right: Piece[] } {
  const a = words(left);
  const b = words(right);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const am = a.slice(head, a.length - tail);
  const bm = b.slice(head, b.length - tail);
  const before = { text: a.slice(0, head).join(''), same: true };
  const after = { text: a.slice(a.length - tail).join(''), same: true };
  const middle = am.length * bm.length > MAX_CELLS
    ? { left: [{ text: am.join(''), same: false }], right: [{ text: bm.join(''), same: false }] }
    : common(am, bm);
  return { left: join([before, ...middle.left, after]), right: join([before, ...middle.right, after]) };
}

function common(a: string[], b: string[]): { left: Piece[]; right: Piece[] } {
  const width = b.length + 1;
  // length[i * width + j]: longest common subsequence of a[i…] and b[j…]
  const length = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      length[at] = a[i] === b[j] ? length[at + width + 1]! + 1 : Math.max(length[at + width]!, length[at + 1]!);
    }
  }
  const left: Piece[] = [];
  const right: Piece[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      left.push({ text: a[i++]!, same: true });
      right.push({ text: b[j++]!, same: true });
    } else if (length[(i + 1) * width + j]! >= length[i * width + j + 1]!) {
      left.push({ text: a[i++]!, same: false });
    } else {
      right.push({ text: b[j++]!, same: false });
    }
  }
  left.push({ text: a.slice(i).join(''), same: false });
  right.push({ text: b.slice(j).join(''), same: false });
  return { left, right };
}
