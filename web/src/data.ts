// The JSON in the page: its shape, and the check that it has that shape. A page without usable data says what is wrong and where.

export interface Result {
  variant?: string;
  format?: string | null;
  task: string;
  metric: string;
  convention?: string | null;
  value: number | null;
  low?: number | null;
  high?: number | null;
  n?: number | null;
  unit?: string | null;
  better?: string | null;
  baseline_delta?: number | null;
  delta_low?: number | null;
  delta_high?: number | null;
  verdict?: string | null;
  p_value?: number | null;
  /** Corrected for the variants of the sweep. */
  p_holm?: number | null;
  /** Samples that would decide a difference of this size. */
  decisive_n?: number | null;
  /** Why there is no value. */
  unknown?: string | null;
}

export interface Sample {
  task: string;
  id: string;
  prompt?: string | null;
  prediction: string;
  gold?: string[] | null;
  scores?: Record<string, number | null> | null;
}

export interface Timing {
  op: string;
  ms: number;
}

export interface Layer {
  name: string;
  format?: string | null;
  bytes?: number | null;
  shape?: number[] | null;
  mse?: number | null;
}

/** Resident memory of the run's process: [milliseconds, bytes], and when its phases began. */
export interface Memory {
  points: [number, number][];
  phases?: { ms: number; name: string }[] | null;
}

/** A run of a sweep that goes on, or has stopped. */
export interface LiveRun {
  id: string;
  state: 'waiting' | 'running' | 'done' | 'partial' | 'failed';
  phase?: string | null;
  done?: number | null;
  total?: number | null;
  elapsed_ms?: number | null;
  rss_bytes?: number | null;
  seconds?: number | null;
}

/** Only in the dashboard. */
export interface Live {
  begun?: string | null;
  experiment?: string | null;
  experiments?: string[] | null;
  runs?: LiveRun[] | null;
  broken?: string[] | null;
}

export type Environment = Record<string, unknown>;

export interface Run {
  id: string;
  variant: string;
  baseline?: string | null;
  status: 'done' | 'partial' | 'failed';
  error?: string | null;
  model: { path: string; family?: string | null; parameters?: number | null; hash?: string | null };
  environment?: Environment | null;
  results: Result[];
  samples: Sample[];
  timings: Timing[];
  layers: Layer[];
  memory?: Memory | null;
  has_trace?: boolean | null;
}

export interface Report {
  lathe: string;
  title: string;
  created?: string | null;
  experiment?: { name?: string | null; baseline?: string | null; yaml?: string | null } | null;
  runs: Run[];
  live?: Live | null;
}

/** What is wrong with the data, for the reader of the page. */
export class DataError extends Error {}

type Kind = 'string' | 'number' | 'object' | 'array';

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function need(value: unknown, kind: Kind, where: string): void {
  const found = value === undefined ? 'nothing' : kindOf(value);
  if (found !== kind) throw new DataError(`${where}: expected ${kind}, found ${found}`);
}

function allow(value: unknown, kind: Kind, where: string): void {
  if (value !== null && value !== undefined) need(value, kind, where);
}

type Fields = Record<string, unknown>;

function checkEach(list: unknown, where: string, check: (item: Fields, where: string) => void): void {
  (list as unknown[]).forEach((item, i) => {
    need(item, 'object', `${where}[${i}]`);
    check(item as Fields, `${where}[${i}]`);
  });
}

function checkResult(r: Fields, where: string): void {
  need(r['task'], 'string', `${where}.task`);
  need(r['metric'], 'string', `${where}.metric`);
  for (const key of ['value', 'low', 'high', 'n', 'baseline_delta', 'delta_low', 'delta_high', 'p_value', 'p_holm', 'decisive_n']) allow(r[key], 'number', `${where}.${key}`);
  for (const key of ['format', 'unit', 'better', 'verdict', 'convention', 'unknown']) allow(r[key], 'string', `${where}.${key}`);
}

function checkSample(r: Fields, where: string): void {
  need(r['task'], 'string', `${where}.task`);
  need(r['prediction'], 'string', `${where}.prediction`);
  allow(r['prompt'], 'string', `${where}.prompt`);
  allow(r['gold'], 'array', `${where}.gold`);
  allow(r['scores'], 'object', `${where}.scores`);
  r['id'] = String(r['id'] ?? '');
  r['gold'] = ((r['gold'] ?? []) as unknown[]).map(String);
}

function checkLayer(r: Fields, where: string): void {
  need(r['name'], 'string', `${where}.name`);
  allow(r['format'], 'string', `${where}.format`);
  allow(r['bytes'], 'number', `${where}.bytes`);
  allow(r['shape'], 'array', `${where}.shape`);
  allow(r['mse'], 'number', `${where}.mse`);
}

function checkMemory(memory: Fields, where: string): void {
  need(memory['points'], 'array', `${where}.points`);
  (memory['points'] as unknown[]).forEach((p, i) => {
    need(p, 'array', `${where}.points[${i}]`);
    for (const k of [0, 1]) need((p as unknown[])[k], 'number', `${where}.points[${i}][${k}]`);
  });
  allow(memory['phases'], 'array', `${where}.phases`);
  checkEach(memory['phases'] ?? [], `${where}.phases`, (p, at) => {
    need(p['ms'], 'number', `${at}.ms`);
    need(p['name'], 'string', `${at}.name`);
  });
}

function checkLive(live: Fields): void {
  for (const key of ['runs', 'experiments', 'broken']) allow(live[key], 'array', `live.${key}`);
  checkEach(live['runs'] ?? [], 'live.runs', (r, at) => {
    need(r['id'], 'string', `${at}.id`);
    need(r['state'], 'string', `${at}.state`);
    allow(r['phase'], 'string', `${at}.phase`);
    for (const key of ['done', 'total', 'elapsed_ms', 'rss_bytes', 'seconds']) allow(r[key], 'number', `${at}.${key}`);
  });
  for (const key of ['experiments', 'broken']) ((live[key] ?? []) as unknown[]).forEach((t, i) => need(t, 'string', `live.${key}[${i}]`));
  allow(live['experiment'], 'string', 'live.experiment');
}

/** Samples that came later, from the dashboard. */
export function checkSamples(list: unknown): Sample[] {
  need(list, 'array', 'samples');
  checkEach(list, 'samples', checkSample);
  return list as Sample[];
}

function checkRun(run: Fields, where: string): void {
  need(run['id'], 'string', `${where}.id`);
  need(run['variant'], 'string', `${where}.variant`);
  need(run['model'], 'object', `${where}.model`);
  need((run['model'] as Fields)['path'], 'string', `${where}.model.path`);
  allow((run['model'] as Fields)['parameters'], 'number', `${where}.model.parameters`);
  allow(run['environment'], 'object', `${where}.environment`);
  allow(run['error'], 'string', `${where}.error`);
  if (run['status'] !== 'done' && run['status'] !== 'partial' && run['status'] !== 'failed') {
    throw new DataError(`${where}.status: expected "done", "partial" or "failed", found ${JSON.stringify(run['status'])}`);
  }
  for (const key of ['results', 'samples', 'timings', 'layers']) {
    allow(run[key], 'array', `${where}.${key}`);
    run[key] ??= [];
  }
  checkEach(run['results'], `${where}.results`, checkResult);
  checkEach(run['samples'], `${where}.samples`, checkSample);
  allow(run['memory'], 'object', `${where}.memory`);
  if (run['memory']) checkMemory(run['memory'] as Fields, `${where}.memory`);
  checkEach(run['layers'], `${where}.layers`, checkLayer);
  checkEach(run['timings'], `${where}.timings`, (t, at) => {
    need(t['op'], 'string', `${at}.op`);
    need(t['ms'], 'number', `${at}.ms`);
  });
}

/** Reads the text of the data element. Throws DataError. */
export function parseReport(text: string): Report {
  const trimmed = text.trim();
  if (trimmed === '' || trimmed.startsWith('/*')) {
    throw new DataError('The page is still an empty template. Make a report with: lathe report RUNS… -o report.html');
  }
  let data: unknown;
  try {
    data = JSON.parse(trimmed);
  } catch (error) {
    throw new DataError(`The data in the page is not valid JSON: ${(error as Error).message}`);
  }
  need(data, 'object', 'report');
  const report = data as Fields;
  need(report['runs'], 'array', 'runs');
  allow(report['title'], 'string', 'title');
  allow(report['created'], 'string', 'created');
  allow(report['experiment'], 'object', 'experiment');
  for (const key of ['name', 'baseline', 'yaml']) allow((report['experiment'] as Fields | null)?.[key], 'string', `experiment.${key}`);
  checkEach(report['runs'], 'runs', checkRun);
  allow(report['live'], 'object', 'live');
  if (report['live']) checkLive(report['live'] as Fields);
  if ((report['runs'] as unknown[]).length === 0 && !report['live']) throw new DataError('runs: the list is empty, so there is nothing to show');
  report['lathe'] = String(report['lathe'] ?? '');
  report['title'] ||= (report['experiment'] as Fields | null)?.['name'] ?? 'Lathe report';
  return report as unknown as Report;
}
