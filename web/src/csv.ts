// The shown table as CSV (RFC 4180), exact figures. Text that a spreadsheet would take for a formula gets a leading apostrophe.
import { fullLabel, type Metric } from './metrics';
import { frontName, type Row } from './rows';
import type { View } from './state';

function field(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export function toCsv(rows: Row[], metrics: Metric[], view: View): string {
  const head = ['model', 'variant', 'format', 'baseline', 'pareto', 'status', 'error'];
  for (const m of metrics) {
    const name = `${fullLabel(m)}${m.unit ? ` [${m.unit}]` : ''}`;
    head.push(name);
    if (m.kind === 'quality') head.push(`${name} low`, `${name} high`, `${name} n`, `${name} delta`, `${name} verdict`);
  }
  const lines = rows.map((row) => {
    const cells: (string | number | null | undefined)[] = [
      row.model, row.variant, row.format, row.isBaseline ? 'yes' : '', frontName(row, view.memoryFront, view.speedFront),
      row.run.status, row.run.error ?? '',
    ];
    for (const m of metrics) {
      const r = row.cells.get(m.key);
      cells.push(r?.unknown ? 'unknown' : r?.value);
      if (m.kind === 'quality') cells.push(r?.low, r?.high, r?.n, r?.baseline_delta, r?.verdict);
    }
    return cells.map(field).join(',');
  });
  return [head.map(field).join(','), ...lines].join('\r\n') + '\r\n';
}
