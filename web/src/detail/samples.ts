// Predictions beside the baseline's for the same sample, with the words that differ marked.
import type { Sample } from '../data';
import { diff, type Piece } from '../diff';
import { fill, h, select, type Child } from '../dom';
import { significant } from '../format';
import type { Row } from '../rows';

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

function card(sample: Sample, other: Sample | undefined, row: Row): HTMLElement {
  const marked = other ? diff(other.prediction, sample.prediction) : null;
  const gold = sample.gold ?? [];
  return h('article', { class: 'sample' },
    h('header', {}, h('span', { class: 'mono sub' }, sample.id), h('span', { class: 'scores' }, scores(sample, other))),
    sample.prompt ? h('details', {}, h('summary', {}, 'Prompt'), h('pre', { class: 'source', tabindex: 0 }, sample.prompt)) : null,
    h('div', { class: other ? 'answers two' : 'answers' },
      other && marked ? answer(`Baseline (${row.baseline!.variant})`, pieces(marked.left, 'gone'), other.prediction === '') : null,
      answer(row.variant, marked ? pieces(marked.right, 'new') : sample.prediction, sample.prediction === '')),
    h('div', { class: 'gold' }, h('h4', {}, gold.length > 1 ? 'Accepted answers' : 'Expected'),
      gold.length ? h('ul', {}, gold.map((g) => h('li', {}, g === '' ? h('em', { class: 'sub' }, '(no answer)') : g))) : h('p', { class: 'sub' }, '(no answer)')));
}

export function samples(row: Row): Child {
  const others = new Map((row.isBaseline ? [] : (row.baseline?.run.samples ?? [])).map((s) => [JSON.stringify([s.task, s.id]), s]));
  const otherOf = (s: Sample): Sample | undefined => others.get(JSON.stringify([s.task, s.id]));
  const tasks = [...new Set(row.run.samples.map((s) => s.task))];
  const list = h('div', { class: 'samples' });
  const tally = h('p', { class: 'hint', role: 'status' });
  let task = tasks[0] ?? '';
  const only = h('input', { type: 'checkbox', onchange: () => draw() });
  const draw = (): void => {
    const ofTask = row.run.samples.filter((s) => s.task === task);
    const differing = ofTask.filter((s) => otherOf(s) && otherOf(s)!.prediction !== s.prediction);
    const shown = only.checked ? differing : ofTask;
    tally.textContent = others.size
      ? `${differing.length} of ${ofTask.length} predictions kept here differ from the baseline's.`
      : `${ofTask.length} predictions kept here.`;
    fill(list, shown.length ? shown.map((s) => card(s, otherOf(s), row)) : h('p', { class: 'empty' }, 'No prediction differs.'));
  };
  draw();
  return [
    h('div', { class: 'filters' },
      tasks.length > 1 ? select('Task', tasks.map((t) => ({ value: t, label: t })), task, (t) => { task = t; draw(); }, 'sample-task') : null,
      others.size ? h('label', { class: 'check' }, only, ' Only those that differ') : null, tally),
    list,
  ];
}
