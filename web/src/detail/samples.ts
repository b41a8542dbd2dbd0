// Predictions beside those of another run for the same sample, with the words that differ marked: what did the 4-bit model
// answer that the baseline did not?
import { checkSamples, type Report, type Sample } from '../data';
import { diff, type Piece } from '../diff';
import { fill, h, select, type Child } from '../dom';
import { significant } from '../format';
import { allSamples } from '../live';
import type { Row } from '../rows';

const SHOWN_AT_ONCE = 50;

function pieces(list: Piece[], cls: string): Child {
  return list.map((p) => (p.same ? p.text : h('mark', { class: cls }, p.text)));
}

function scores(sample: Sample, other: Sample | undefined): Child {
  return Object.entries(sample.scores ?? {}).map(([name, value]) => {
    const before = other?.scores?.[name];
    const moved = typeof value === 'number' && typeof before === 'number' && value !== before;
    return h('span', { class: moved ? 'chip neutral moved' : 'chip neutral' }, `${name} ${typeof value === 'number' ? significant(value, 3) : '–'}`,
      moved ? h('span', { class: 'sub' }, ` was ${significant(before, 3)}`) : null);
  });
}

function answer(title: string, content: Child, empty: boolean, cls = ''): HTMLElement {
  return h('div', { class: `answer ${cls}`.trim() }, h('h4', {}, title), h('p', { class: 'text' }, empty ? h('em', { class: 'sub' }, '(empty)') : content));
}

function card(sample: Sample, other: Sample | undefined, name: string, otherName: string): HTMLElement {
  const marked = other ? diff(other.prediction, sample.prediction) : null;
  const gold = sample.gold ?? [];
  return h('article', { class: 'sample' },
    h('header', {}, h('span', { class: 'mono sub' }, sample.id), h('span', { class: 'scores' }, scores(sample, other))),
    sample.prompt ? h('details', {}, h('summary', {}, 'Prompt'), h('pre', { class: 'source', tabindex: 0 }, sample.prompt)) : null,
    h('div', { class: other ? 'answers two' : 'answers' },
      other && marked ? answer(otherName, pieces(marked.left, 'gone'), other.prediction === '') : null,
      answer(name, marked ? pieces(marked.right, 'new') : sample.prediction, sample.prediction === '')),
    h('div', { class: 'gold' }, h('h4', {}, gold.length > 1 ? 'Accepted answers' : 'Expected'),
      gold.length ? h('ul', {}, gold.map((g) => h('li', {}, g === '' ? h('em', { class: 'sub' }, '(no answer)') : g))) : h('p', { class: 'sub' }, '(no answer)')));
}

/** Sum of a sample's scores: more is better, whatever the task calls them. */
function total(sample: Sample): number {
  return Object.values(sample.scores ?? {}).reduce<number>((sum, v) => sum + (typeof v === 'number' ? v : 0), 0);
}

type Filter = 'all' | 'differ' | 'worse' | 'better';

const FILTERS: Record<Filter, (s: Sample, o: Sample | undefined) => boolean> = {
  all: () => true,
  differ: (s, o) => o !== undefined && o.prediction !== s.prediction,
  worse: (s, o) => o !== undefined && total(s) < total(o),
  better: (s, o) => o !== undefined && total(s) > total(o),
};

/** `rows`: all that may be compared with. */
export function samples(row: Row, rows: Row[], report: Report): Child {
  const others = rows.filter((r) => r !== row && r.model === row.model && r.run.samples.length > 0);
  const list = h('div', { class: 'samples' });
  const tally = h('p', { class: 'hint', role: 'status' });
  const filters = h('div', { class: 'filters' });
  const kept = new Map<Row, Promise<Sample[]>>();
  const load = (r: Row): Promise<Sample[]> => {
    let found = kept.get(r);
    if (!found) {
      found = report.live ? allSamples(report, r.run.id).then(checkSamples) : Promise.resolve(r.run.samples);
      kept.set(r, found);
    }
    return found;
  };
  let other: Row | null = row.isBaseline ? null : (others.find((r) => r.isBaseline) ?? null);
  let task = '';
  let filter: Filter = 'all';
  let shown = SHOWN_AT_ONCE;
  let turn = 0;

  const draw = async (): Promise<void> => {
    const mine = ++turn;
    try {
      const [own, theirs] = await Promise.all([load(row), other ? load(other) : Promise.resolve([])]);
      if (mine !== turn) return;
      const tasks = [...new Set(own.map((s) => s.task))];
      if (!tasks.includes(task)) task = tasks[0] ?? '';
      const byId = new Map(theirs.filter((s) => s.task === task).map((s) => [s.id, s]));
      const ofTask = own.filter((s) => s.task === task);
      const fitting = ofTask.filter((s) => FILTERS[filter](s, byId.get(s.id)));
      const number = (f: Filter): number => ofTask.filter((s) => FILTERS[f](s, byId.get(s.id))).length;
      const name = other ? (other.isBaseline ? `Baseline (${other.variant})` : other.variant) : '';
      const again = (change: () => void): void => { change(); shown = SHOWN_AT_ONCE; void draw(); };
      fill(filters,
        tasks.length > 1 ? select('Task', tasks.map((t) => ({ value: t, label: t })), task, (t) => again(() => { task = t; }), 'sample-task') : null,
        others.length ? select('Compare with', [{ value: '', label: 'nothing' }, ...others.map((r) => ({ value: r.run.id, label: r.isBaseline ? `${r.variant} (baseline)` : r.variant }))], other?.run.id ?? '',
          (id) => again(() => { other = others.find((r) => r.run.id === id) ?? null; if (!other) filter = 'all'; }), 'sample-other') : null,
        other ? select('Show', [
          { value: 'all', label: `all (${ofTask.length})` }, { value: 'differ', label: `that differ (${number('differ')})` },
          { value: 'worse', label: `scored lower here (${number('worse')})` }, { value: 'better', label: `scored higher here (${number('better')})` },
        ], filter, (f) => again(() => { filter = f as Filter; }), 'sample-filter') : null, tally);
      tally.textContent = other
        ? `${number('differ')} of ${ofTask.length} predictions ${report.live ? '' : 'kept here '}differ${other.isBaseline ? " from the baseline's" : ` from ${other.variant}'s`}.`
        : `${ofTask.length} predictions${report.live ? '' : ' kept here'}.`;
      const more = fitting.length > shown ? h('button', { type: 'button', class: 'button', onclick: () => { shown += SHOWN_AT_ONCE; void draw(); } }, `Show more (${fitting.length - shown})`) : null;
      fill(list, fitting.length ? fitting.slice(0, shown).map((s) => card(s, byId.get(s.id), row.variant, name)) : h('p', { class: 'empty' }, filter === 'differ' ? 'No prediction differs.' : 'There is none.'), more);
    } catch (error) {
      if (mine === turn) fill(list, h('p', { class: 'failure' }, `The predictions cannot be shown: ${(error as Error).message}`));
    }
  };
  void draw();
  return [filters, list];
}
