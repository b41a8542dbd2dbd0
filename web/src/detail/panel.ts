// The panel of one run: a dialog on the right with all its results, predictions, layers, times, environment and the experiment.
import type { Live } from '../data';
import { fill, h, type Child } from '../dom';
import { bytes, count, significant } from '../format';
import { makeChart } from '../charts/engine';
import { timeline } from '../charts/timeline';
import type { Row } from '../rows';
import type { State } from '../state';
import { results } from './results';
import { samples } from './samples';

interface Tab {
  name: string;
  content: () => Child;
}

export interface Panel {
  element: HTMLDialogElement;
  open: (row: Row) => void;
}

/** A plain value as text; objects as JSON. */
function show(value: unknown): string {
  return value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : typeof value === 'number' ? String(value) : String(value);
}

export function facts(pairs: [string, unknown][]): HTMLElement {
  return h('dl', { class: 'facts' }, pairs.map(([name, value]) => [h('dt', {}, name), h('dd', {}, show(value))]));
}

function meter(share: number): HTMLElement {
  const bar = h('span', { class: 'meter', 'aria-hidden': 'true' }, h('span', {}));
  (bar.firstElementChild as HTMLElement).style.width = `${Math.max(0, Math.min(100, 100 * share)).toFixed(1)}%`;
  return bar;
}

function layers(row: Row): Child {
  const list = row.run.layers;
  const most = Math.max(...list.map((l) => l.mse ?? 0));
  const total = list.reduce((sum, l) => sum + (l.bytes ?? 0), 0);
  return [
    h('p', { class: 'hint' }, `${count(list.length)} matrices, ${bytes(total)} in all. Bars: mean squared error of the stored weights, largest = full.`),
    h('table', { class: 'plain' },
      h('thead', {}, h('tr', {}, ['Layer', 'Format'].map((t) => h('th', { scope: 'col' }, t)), ['Shape', 'Size', 'Error (MSE)'].map((t) => h('th', { scope: 'col', class: 'num' }, t)))),
      h('tbody', {}, list.map((l) => h('tr', {},
        h('th', { scope: 'row', class: 'mono' }, l.name),
        h('td', { class: 'mono' }, l.format ?? '–'),
        h('td', { class: 'num' }, l.shape?.join(' × ') ?? '–'),
        h('td', { class: 'num', title: l.bytes === null || l.bytes === undefined ? null : `${count(l.bytes)} bytes` }, l.bytes === null || l.bytes === undefined ? '–' : bytes(l.bytes)),
        h('td', { class: 'num metered' }, l.mse === null || l.mse === undefined ? '–' : [meter(most > 0 ? l.mse / most : 0), l.mse === 0 ? '0' : l.mse.toExponential(2).replace('-', '\u2212')]))))),
  ];
}

function timings(row: Row): Child {
  const list = [...row.run.timings].sort((a, b) => b.ms - a.ms);
  const total = list.reduce((sum, t) => sum + t.ms, 0);
  return h('table', { class: 'plain' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Operation'), ['Time', 'Share'].map((t) => h('th', { scope: 'col', class: 'num' }, t)))),
    h('tbody', {}, list.map((t) => h('tr', {}, h('th', { scope: 'row', class: 'mono' }, t.op), h('td', { class: 'num' }, `${significant(t.ms, 3)} ms`),
      h('td', { class: 'num metered' }, meter(total > 0 ? t.ms / total : 0), `${(total > 0 ? (100 * t.ms) / total : 0).toFixed(1)}%`)))));
}

function environment(row: Row, live: Live | null | undefined): Child {
  const { model } = row.run;
  return [
    h('h3', {}, 'Model'),
    facts([['path', model.path], ['family', model.family], ['parameters', model.parameters === null || model.parameters === undefined ? null : count(model.parameters)], ['hash', model.hash]]),
    h('h3', {}, 'Machine and settings'),
    facts(Object.entries(row.run.environment ?? {})),
    live ? [h('h3', {}, 'Files'), h('ul', {}, ['run.json', 'samples.jsonl', 'memory.json', ...(row.run.has_trace ? ['trace.json'] : [])].map((name) =>
      h('li', {}, h('a', { href: `/api/file?run=${encodeURIComponent(row.run.id)}&name=${name}&experiment=${encodeURIComponent(live.experiment ?? '')}`, download: name }, name),
        name === 'trace.json' ? h('span', { class: 'sub' }, ' opens in ui.perfetto.dev or chrome://tracing') : null)))] : null,
  ];
}

export function makePanel(state: State, order: () => Row[]): Panel {
  const body = h('div', { class: 'panel-body' });
  const element = h('dialog', { class: 'panel', 'aria-label': 'Run details' }, body);
  let tabName = 'Results';
  const memory = makeChart('Memory over time');

  const draw = (row: Row): void => {
    const { run } = row;
    const tabs: Tab[] = [{ name: 'Results', content: () => results(row, state) }];
    if (run.samples.length) tabs.push({ name: 'Predictions', content: () => samples(row, state.tables.rows, state.report) });
    if (run.layers.length) tabs.push({ name: 'Layers', content: () => layers(row) });
    if (run.timings.length) tabs.push({ name: 'Times', content: () => timings(row) });
    if (run.memory) tabs.push({ name: 'Memory', content: () => { queueMicrotask(() => memory.draw(timeline(run))); return memory.element; } });
    tabs.push({ name: 'Environment', content: () => environment(row, state.report.live) });
    const yaml = state.report.experiment?.yaml;
    if (yaml) tabs.push({ name: 'Experiment', content: () => h('pre', { class: 'source', tabindex: 0 }, yaml) });

    const content = h('div', { class: 'tab-content', role: 'tabpanel', tabindex: 0, id: 'tab-content' });
    const buttons = tabs.map((t) => h('button', { type: 'button', role: 'tab', 'aria-controls': 'tab-content', onclick: () => pick(t, false) }, t.name));
    const pick = (tab: Tab, focus: boolean): void => {
      tabName = tab.name;
      buttons.forEach((b, i) => {
        const active = tabs[i] === tab;
        b.setAttribute('aria-selected', String(active));
        b.tabIndex = active ? 0 : -1;
        if (active && focus) b.focus();
      });
      content.setAttribute('aria-label', tab.name);
      fill(content, tab.content());
      content.scrollTop = 0;
    };
    const bar = h('div', { class: 'tabs', role: 'tablist', onkeydown: (e: KeyboardEvent) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!step) return;
      const at = tabs.findIndex((t) => t.name === tabName);
      pick(tabs[(at + step + tabs.length) % tabs.length]!, true);
      e.preventDefault();
    } }, buttons);

    const rows = order();
    const at = rows.indexOf(row);
    const go = (step: number, label: string, sign: string): HTMLButtonElement => {
      const next = rows[at + step];
      return h('button', { type: 'button', class: 'button quiet', disabled: !next, 'aria-label': label, title: label, onclick: () => { if (next) draw(next); } }, sign);
    };
    fill(body,
      h('header', { class: 'panel-head' },
        h('div', {}, h('h2', {}, row.variant, row.isBaseline ? h('span', { class: 'tag' }, 'baseline') : null, run.status === 'failed' ? h('span', { class: 'chip worse' }, '✕ failed') : null,
          run.status === 'partial' ? h('span', { class: 'chip worse' }, '✕ failed in part') : null),
          h('p', { class: 'sub mono' }, [row.model, row.format].filter(Boolean).join(' · '))),
        h('div', { class: 'actions' }, go(-1, 'Previous variant', '‹'), go(1, 'Next variant', '›'),
          h('button', { type: 'button', class: 'button', 'aria-label': 'Close', onclick: () => element.close() }, 'Close'))),
      run.status === 'failed' || run.error ? h('p', { class: 'failure', role: 'note' }, run.error || 'The run failed; no reason was recorded.') : null,
      bar, content);
    pick(tabs.find((t) => t.name === tabName) ?? tabs[0]!, false);
    history.replaceState(null, '', `#run=${encodeURIComponent(run.id)}`);
  };

  element.addEventListener('click', (e) => {
    if (e.target === element) element.close();
  });
  element.addEventListener('close', () => history.replaceState(null, '', location.pathname + location.search));
  return {
    element,
    open: (row) => {
      draw(row);
      if (!element.open) element.showModal();
    },
  };
}
