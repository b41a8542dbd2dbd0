// The dashboard's part of the page: what a sweep is doing now, and newer data as it comes. A report has none of this.
import { DataError, parseReport, type LiveRun, type Report } from './data';
import { fill, h, select, type Child } from './dom';
import { bytes, count } from './format';

const EVERY_MS = 2000;

function duration(ms: number): string {
  const s = Math.round(ms / 1000);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

function doing(run: LiveRun): string {
  const counts = run.total ? ` ${count(run.done ?? 0)} of ${count(run.total)}` : '';
  const rest = [run.elapsed_ms ? duration(run.elapsed_ms) : '', run.rss_bytes ? bytes(run.rss_bytes) : ''].filter(Boolean).join(', ');
  return `${run.phase ?? ''}${counts}${rest ? ` · ${rest}` : ''}`;
}

function runLine(run: LiveRun): HTMLElement {
  const share = run.total ? (run.done ?? 0) / run.total : 0;
  const bar = h('progress', { max: 1, value: run.state === 'running' ? share : run.state === 'waiting' ? 0 : 1, 'aria-label': `${run.id}: ${run.state}` });
  return h('li', { class: run.state, 'data-state': run.state }, h('span', { class: 'mono' }, run.id), bar,
    h('span', { class: 'sub' }, run.state === 'running' ? doing(run) : run.state === 'waiting' && run.seconds ? `waiting, about ${duration(1000 * run.seconds)}` : run.state));
}

/** Which experiment is shown, and how far its sweep is. */
export function liveStrip(report: Report): HTMLElement | null {
  const { live } = report;
  if (!live) return null;
  const runs = live.runs ?? [];
  const unfinished = runs.filter((r) => r.state === 'running' || r.state === 'waiting');
  const running = runs.some((r) => r.state === 'running');
  const experiments = live.experiments ?? [];
  const picker: Child = experiments.length > 1
    ? select('Experiment', experiments.map((e) => ({ value: e, label: e || '(no name)' })), live.experiment ?? '', (e) => { location.search = `?experiment=${encodeURIComponent(e)}`; }, 'experiment')
    : null;
  return h('section', { class: 'card live', 'aria-label': 'Sweep' },
    h('div', { class: 'card-head' }, h('h2', {}, running ? 'Running' : unfinished.length ? 'Stopped' : 'Finished'),
      h('p', { class: 'hint', role: 'status' }, runs.length ? `${runs.length - unfinished.length} of ${runs.length} runs done` : 'No sweep has left its plan here.'),
      h('div', { class: 'actions' }, picker)),
    unfinished.length ? h('ul', { class: 'progress' }, runs.filter((r) => r.state !== 'done').map(runLine)) : null,
    (live.broken ?? []).map((text) => h('p', { class: 'failure' }, `Not shown: ${text}`)));
}

/** Asks for newer data until the page is closed; `changed` gets it. What goes wrong is said in `status`. */
export function follow(changed: (report: Report) => void, status: HTMLElement): void {
  let tag = '';
  const again = (): void => { setTimeout(() => void ask(), EVERY_MS); };
  const ask = async (): Promise<void> => {
    try {
      const answer = await fetch(`/api/data${location.search}`, { headers: tag ? { 'If-None-Match': tag } : {}, cache: 'no-store' });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
        const text = await answer.text();
        tag = answer.headers.get('ETag') ?? '';
        changed(parseReport(text));
      }
      fill(status);
    } catch (error) {
      fill(status, h('p', { class: 'warning' }, error instanceof DataError ? `The newest data cannot be shown: ${error.message}` : 'The dashboard does not answer. Start it again with: lathe dashboard'));
    }
    again();
  };
  again();
}

/** All samples of a run, from the dashboard; a report has those that it holds. */
export async function allSamples(report: Report, id: string): Promise<unknown[]> {
  const experiment = encodeURIComponent(report.live?.experiment ?? '');
  const answer = await fetch(`/api/samples?run=${encodeURIComponent(id)}&experiment=${experiment}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return (await answer.json()) as unknown[];
}
