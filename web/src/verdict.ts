// How a comparison with the baseline is shown: sign, word and colour together, so that colour is never alone.
import { h } from './dom';
import { count, delta, interval, significant } from './format';
import type { Metric } from './metrics';
import type { Result } from './data';

const SIGNS: Record<string, { sign: string; word: string; tone: string }> = {
  '=': { sign: '=', word: 'same', tone: 'same' },
  same: { sign: '=', word: 'same', tone: 'same' },
  better: { sign: '▲', word: 'better', tone: 'better' },
  worse: { sign: '▼', word: 'worse', tone: 'worse' },
  undecided: { sign: '?', word: 'undecided', tone: 'undecided' },
};

const MEANING: Record<string, string> = {
  same: 'The difference is too small to matter',
  better: 'Decidedly better than the baseline on the same samples',
  worse: 'Decidedly worse than the baseline on the same samples',
  undecided: 'Could be chance, with so many variants compared: more samples are needed to decide',
};

export function verdictWord(verdict: string | null | undefined): string {
  return verdict ? (SIGNS[verdict]?.word ?? verdict) : '';
}

/** A coloured mark like "▼ −1.3"; null when there is nothing to compare. */
export function verdictChip(metric: Metric, r: Result, withWord = false): HTMLElement | null {
  const difference = r.baseline_delta;
  if ((difference === null || difference === undefined) && !r.verdict) return null;
  const known = r.verdict ? SIGNS[r.verdict] : undefined;
  const tone = known?.tone ?? 'undecided';
  const range = interval(metric, r.delta_low, r.delta_high);
  const enough = r.verdict === 'undecided' ? (r.decisive_n ?? null) : null;
  const title = [
    known ? MEANING[known.tone] : r.verdict ? `Verdict: ${r.verdict}` : 'Difference from the baseline',
    range ? `difference ${range}` : null,
    r.p_holm === null || r.p_holm === undefined ? null : `p = ${significant(r.p_holm, 2)} (Holm, over the sweep's variants)`,
    enough === null ? null : `about ${count(enough)} samples would decide a difference of this size`,
  ].filter(Boolean).join('; ');
  return h('span', { class: `chip ${r.verdict ? tone : 'neutral'}`, title },
    known ? h('span', { 'aria-hidden': 'true', class: 'sign' }, known.sign) : null,
    difference === null || difference === undefined ? null : delta(metric, difference),
    withWord ? ` ${verdictWord(r.verdict)}${enough === null ? '' : `, n ${count(enough)}`}` : h('span', { class: 'visually-hidden' }, ` ${verdictWord(r.verdict)}`));
}
