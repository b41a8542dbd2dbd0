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

export type Environment = Record<string, unknown>;

export interface Run {
  id: string;
  variant: string;
  baseline?: string | null;
  status: 'done' | 'failed';
  error?: string | null;
  model: { path: string; family?: string | null; parameters?: number | null; hash?: string | null };
  environment?: Environment | null;
  results: Result[];
  samples: Sample[];
  timings: Timing[];
  layers: Layer[];
}

export interface Report {
  lathe: string;
  title: string;
  created?: string | null;
  experiment?: { name?: string | null; baseline?: string | null; yaml?: string | null } | null;
  runs: Run[];
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
  for (const key of ['value', 'low', 'high', 'n', 'baseline_delta', 'delta_low', 'delta_high']) allow(r[key], 'number', `${where}.${key}`);
  for (const key of ['format', 'unit', 'better', 'verdict', 'convention']) allow(r[key], 'string', `${where}.${key}`);
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

function checkRun(run: Fields, where: string): void {
  need(run['id'], 'string', `${where}.id`);
  need(run['variant'], 'string', `${where}.variant`);
  need(run['model'], 'object', `${where}.model`);
  need((run['model'] as Fields)['path'], 'string', `${where}.model.path`);
  allow((run['model'] as Fields)['parameters'], 'number', `${where}.model.parameters`);
  allow(run['environment'], 'object', `${where}.environment`);
  allow(run['error'], 'string', `${where}.error`);
  if (run['status'] !== 'done' && run['status'] !== 'failed') {
    throw new DataError(`${where}.status: expected "done" or "failed", found ${JSON.stringify(run['status'])}`);
  }
  for (const key of ['results', 'samples', 'timings', 'layers']) {
    allow(run[key], 'array', `${where}.${key}`);
    run[key] ??= [];
  }
  checkEach(run['results'], `${where}.results`, checkResult);
  checkEach(run['samples'], `${where}.samples`, checkSample);
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
  if ((report['runs'] as unknown[]).length === 0) throw new DataError('runs: the list is empty, so there is nothing to show');
  report['lathe'] = String(report['lathe'] ?? '');
  report['title'] ||= (report['experiment'] as Fields | null)?.['name'] ?? 'Lathe report';
  return report as unknown as Report;
}
