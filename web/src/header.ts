// What was measured, when and on what. Runs from different machines are named as such: their speeds do not compare.
import { h, select, type Child } from './dom';
import { count, date, parameters } from './format';
import type { Row } from './rows';
import { shortModel } from './rows';
import { ALL_MODELS, ofKind, type State, type View } from './state';
import { options } from './rows';

const MACHINE = ['cpu', 'isa', 'threads', 'device', 'gpu'];

function machineOf(row: Row): string {
  const e = row.run.environment ?? {};
  const parts = MACHINE.map((key) => {
    const v = e[key];
    if (v === null || v === undefined || v === '' || (key === 'device' && v === 'cpu')) return '';
    return key === 'threads' ? `${String(v)} ${v === 1 ? 'thread' : 'threads'}` : String(v);
  });
  return parts.filter(Boolean).join(' · ');
}

function fact(name: string, value: Child, title = ''): HTMLElement {
  return h('div', { class: 'fact', title: title || null }, h('dt', {}, name), h('dd', {}, value));
}

/** The line of facts under the title; depends on the rows that are shown. */
export function factLine(state: State, view: View): HTMLElement {
  const machines = [...new Set(view.rows.map(machineOf).filter(Boolean))];
  const seeds = [...new Set(view.rows.map((r) => r.run.environment?.['seed']).filter((v) => v !== undefined && v !== null).map(String))];
  const models = [...new Map(view.rows.map((r) => [r.model, r.run.model])).values()];
  const failed = view.rows.filter((r) => r.run.status !== 'done').length;
  const front = view.rows.filter((r) => view.memoryFront.rows.has(r) || view.speedFront.rows.has(r)).length;
  const one = models.length === 1 ? models[0] : undefined;
  return h('div', {},
    h('dl', { class: 'fact-line' },
      one
        ? fact('Model', [shortModel(one.path, state.tables.models), h('span', { class: 'sub' }, [one.family, one.parameters ? `${parameters(one.parameters)} parameters` : ''].filter(Boolean).join(' · '))],
          [one.path, one.parameters ? `${count(one.parameters)} parameters` : '', one.hash ?? ''].filter(Boolean).join('\n'))
        : fact('Models', models.map((m) => shortModel(m.path, state.tables.models)).join(', ')),
      fact('Variants', [String(view.rows.length), h('span', { class: 'sub' }, [`${front} on a Pareto front`, failed ? `${failed} failed` : ''].filter(Boolean).join(' · '))]),
      machines.length === 1 ? fact('Machine', machines[0]!) : null,
      seeds.length ? fact(seeds.length > 1 ? 'Seeds' : 'Seed', seeds.join(', ')) : null,
      fact('Lathe', state.report.lathe || '–')),
    machines.length > 1
      ? h('p', { class: 'warning', role: 'note' }, h('strong', {}, 'These runs come from different machines or settings, so their speeds do not compare: '), machines.join(' | '))
      : null);
}

export function masthead(state: State, theme: HTMLElement): HTMLElement {
  const { report } = state;
  const name = report.experiment?.name;
  return h('header', { class: 'masthead' },
    h('div', {}, h('p', { class: 'brand' }, 'Lathe', h('span', {}, report.live ? 'dashboard' : 'compression report')), h('h1', {}, report.title),
      h('p', { class: 'sub' }, [name && name !== report.title ? `Experiment ${name}` : '', report.created ? h('time', { datetime: report.created }, date(report.created)) : ''].filter(Boolean).flatMap((c, i) => (i ? [' · ', c] : [c])))),
    theme);
}

/** The measures that define the trade-off, and the model. */
export function toolbar(state: State, changed: () => void): HTMLElement {
  const metric = (key: string) => state.tables.metrics.find((m) => m.key === key) ?? null;
  const picker = (label: string, kind: 'quality' | 'memory' | 'speed' | 'cost'): HTMLElement | null => {
    const metrics = ofKind(state, kind);
    if (metrics.length === 0) return null;
    return select(label, options(metrics), state[kind]?.key ?? '', (key) => {
      if (kind === 'quality') state.bar = metric(key);
      state[kind] = metric(key);
      changed();
    }, kind);
  };
  const models = state.tables.models;
  const full = h('input', { type: 'checkbox', name: 'full', checked: state.full, onchange: () => { state.full = full.checked; changed(); } });
  const filter = h('input', { type: 'search', name: 'filter', value: state.filter, placeholder: 'variant, format …', oninput: () => { state.filter = filter.value; changed(); } });
  return h('div', { class: 'toolbar' },
    models.length > 1
      ? select('Model', [...models.map((m) => ({ value: m, label: shortModel(m, models) })), { value: ALL_MODELS, label: 'All models' }], state.model, (m) => { state.model = m; changed(); }, 'model')
      : null,
    picker('Quality', 'quality'), picker('against memory', 'memory'), picker('and speed', 'speed'), picker('and cost', 'cost'),
    h('label', { class: 'field' }, h('span', {}, 'Filter'), filter),
    h('label', { class: 'check', title: 'Draw figures that lie far from the others to scale, instead of at the edge of the chart' }, full, ' Far-off figures to scale'));
}
