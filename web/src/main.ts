// Lathe's report page. Reads the JSON in the page, builds the table and the charts, and keeps them in step with what is chosen.
import { bars, differences } from './charts/bars';
import { makeChart, recolour, resetCharts } from './charts/engine';
import { scatter } from './charts/scatter';
import { DataError, parseReport, type Report } from './data';
import { makePanel } from './detail/panel';
import { fill, h, select } from './dom';
import { factLine, masthead, toolbar } from './header';
import { options, type Row } from './rows';
import { follow, liveStrip } from './live';
import { carryOver, initialState, view, type State } from './state';
import { makeTable } from './table';
import { themeSwitch } from './theme';

/** Builds the page. `old`: what was chosen on the page that it replaces. Gives what a newer page needs of this one. */
function start(app: HTMLElement, report: Report, old: State | null): { state: State; busy: () => boolean; strip: HTMLElement } {
  const state = old ? carryOver(report, old) : initialState(report);
  document.title = `${report.title} · Lathe`;
  const open = (row: Row): void => panel.open(row);
  const table = makeTable(state, { changed: () => table.draw(view(state)), open });
  const panel = makePanel(state, () => table.order());
  const memory = makeChart('Quality and memory');
  const speed = makeChart('Quality and speed');
  const cost = state.cost ? makeChart('Quality and cost') : null;
  const strip = h('div', {}, liveStrip(report));
  const barPicker = h('span', { class: 'holder' });
  const bar = makeChart('By variant', [barPicker]);
  const difference = makeChart('Difference from the baseline');
  const facts = h('div', {});
  const metricOf = (key: string) => state.tables.metrics.find((m) => m.key === key) ?? null;

  const drawBars = (): void => {
    const v = view(state);
    bar.draw(bars(state, v.rows, state.bar, open));
  };
  const changed = (): void => {
    const v = view(state);
    fill(facts, factLine(state, v));
    table.draw(v);
    memory.draw(scatter(state, v.rows, state.memory, state.quality, v.memoryFront, open));
    speed.draw(scatter(state, v.rows, state.speed, state.quality, v.speedFront, open));
    cost?.draw(scatter(state, v.rows, state.cost, state.quality, v.costFront, open));
    fill(barPicker, select('Metric', options(state.tables.metrics, true), state.bar?.key ?? '', (key) => { state.bar = metricOf(key); drawBars(); }, 'bar'));
    drawBars();
    difference.draw(differences(state, v.rows, state.quality, open));
  };

  const yaml = report.experiment?.yaml;
  fill(app,
    masthead(state, themeSwitch(recolour)),
    facts,
    strip,
    h('main', {},
      toolbar(state, changed),
      table.element,
      h('div', { class: 'charts' }, memory.element, speed.element, cost?.element, bar.element, difference.element),
      yaml ? h('details', { class: 'card experiment' }, h('summary', {}, 'Experiment file'), h('pre', { class: 'source', tabindex: 0 }, yaml)) : null),
    h('footer', { class: 'foot' }, 'Intervals and verdicts come from the paired samples of each run; sizes are decimal (1 MB = 1,000,000 bytes).'),
    panel.element);
  changed();

  const wanted = /^#run=(.*)$/.exec(location.hash)?.[1];
  if (wanted !== undefined) {
    const row = state.tables.rows.find((r) => encodeURIComponent(r.run.id) === wanted);
    if (row) open(row);
  }
  return { state, busy: () => panel.element.open, strip };
}

/** A dashboard: the page again whenever there is something new, but never under the reader's hands. */
function startLive(app: HTMLElement, first: Report): void {
  const status = h('div', { role: 'status' });
  const page = h('div', {});
  fill(app, status, page);
  const shell = (report: Report): ReturnType<typeof start> | null => {
    if (report.runs.length) return start(page, report, null);
    fill(page, masthead(initialState(report), themeSwitch(recolour)), liveStrip(report), h('p', { class: 'empty' }, 'No run has ended yet; the table appears with the first.'));
    return null;
  };
  let shown = shell(first);
  let results = JSON.stringify(first.runs);
  let waiting: Report | null = null;
  const redraw = (report: Report): void => {
    const text = JSON.stringify(report.runs);
    if (!shown || !report.runs.length) {
      shown = shell(report);
    } else if (text === results) {
      fill(shown.strip, liveStrip(report));
      return;
    } else if (shown.busy() || (document.activeElement?.matches('input, select') ?? false)) {
      waiting = report;
      fill(shown.strip, liveStrip(report));
      return;
    } else {
      const scroll = document.documentElement.scrollTop;
      resetCharts();
      shown = start(page, report, shown.state);
      document.documentElement.scrollTop = scroll;
    }
    results = text;
  };
  follow(redraw, status);
  setInterval(() => {
    if (!waiting || shown?.busy() || (document.activeElement?.matches('input, select') ?? false)) return;
    const report = waiting;
    waiting = null;
    redraw(report);
  }, 1000);
}

function complain(app: HTMLElement, error: Error): void {
  const known = error instanceof DataError;
  fill(app, h('div', { class: 'trouble', role: 'alert' },
    h('h1', {}, 'This report cannot be shown'),
    h('p', {}, known ? error.message : `The page failed: ${error.message}`),
    h('p', { class: 'sub' }, 'The data stands in the element with id lathe-data. Making the report again usually helps: lathe report RUNS… -o report.html')));
  if (!known) console.error(error);
}

const app = document.getElementById('app')!;
try {
  const report = parseReport(document.getElementById('lathe-data')?.textContent ?? '');
  if (report.live) startLive(app, report);
  else start(app, report, null);
} catch (error) {
  complain(app, error as Error);
}
