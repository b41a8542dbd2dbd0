// Numbers as people read them. Sizes are decimal (1 MB = 1,000,000 bytes); the exact figure goes into the tooltip.
import type { Metric } from './metrics';

const MINUS = '\u2212';
const NONE = '\u2013';
const SIZES: [number, string][] = [[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']];

function signed(text: string, value: number): string {
  return (value > 0 ? '+' : '') + text;
}

function plain(value: number, decimals: number): string {
  const text = value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return (/^-[0.,]*$/.test(text) ? text.slice(1) : text).replace('-', MINUS);
}

/** `digits` significant digits, no exponent between 1e-4 and 1e7. */
export function significant(value: number, digits: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(digits - 1).replace('e+', 'e').replace(/-/g, MINUS);
  return plain(value, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
}

export function bytes(value: number): string {
  const [scale, unit] = SIZES.find(([size]) => Math.abs(value) >= size * 0.9995) ?? [1, 'B'];
  const scaled = value / scale;
  const decimals = scale === 1 ? 0 : Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return `${plain(scaled, decimals)} ${unit}`;
}

export function count(value: number): string {
  return plain(value, 0);
}

/** 3,145,728 → "3.15 M" */
export function parameters(value: number): string {
  const steps: [number, string][] = [[1e9, 'B'], [1e6, 'M'], [1e3, 'k']];
  const [scale, unit] = steps.find(([size]) => value >= size) ?? [1, ''];
  return `${significant(value / scale, 3)}${unit ? ` ${unit}` : ''}`;
}

function decimalsFor(m: Metric, value: number): number {
  const size = Math.abs(value);
  if (m.unit === '%') return 1;
  if (m.name.endsWith('ppl')) return size < 100 ? 3 : size < 1000 ? 2 : size < 1e5 ? 0 : -1;
  if (m.name === 'bits_per_weight') return 2;
  if (m.unit === 'ms' || m.unit === 'tok/s') return size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return -1;
}

/** The bare figure, without unit except for sizes and money. */
export function number(m: Metric, value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (m.isBytes) return bytes(value);
  if (m.unit === 'USD') return `$${significant(value, 3)}`;
  const decimals = decimalsFor(m, value);
  return decimals < 0 ? significant(value, m.name.endsWith('ppl') ? 3 : 4) : plain(value, decimals);
}

export function unit(m: Metric): string {
  return m.isBytes || m.unit === 'USD' ? '' : m.unit;
}

export function withUnit(m: Metric, value: number | null | undefined): string {
  const text = number(m, value);
  const u = unit(m);
  return text === NONE || !u ? text : u === '%' ? `${text}%` : `${text} ${u}`;
}

/** A difference: always with its sign. */
export function delta(m: Metric, value: number): string {
  const text = m.isBytes ? bytes(value) : decimalsFor(m, value) < 0 ? significant(value, 3) : plain(value, decimalsFor(m, value));
  return signed(text, value);
}

/** value ÷ baseline: "0.28×" */
export function ratio(value: number, base: number): string | null {
  if (!Number.isFinite(value) || !Number.isFinite(base) || base <= 0 || value < 0) return null;
  const r = value / base;
  return `${plain(r, r >= 100 ? 0 : r >= 10 ? 1 : 2)}×`;
}

/** What stands where a result has no value. */
export function unknown(r: { unknown?: string | null } | undefined): string | null {
  return r?.unknown ? `unknown: ${r.unknown}` : null;
}

/** All digits, for tooltips. */
export function exact(m: Metric, value: number | null | undefined): string {
  if (value === null || value === undefined) return 'not measured';
  const text = Number.isInteger(value) ? count(value) : String(value).replace('-', MINUS);
  return m.isBytes ? `${text} bytes` : unit(m) ? `${text} ${unit(m)}` : text;
}

export function interval(m: Metric, low: number | null | undefined, high: number | null | undefined): string | null {
  if (low === null || low === undefined || high === null || high === undefined) return null;
  return low < 0 || high < 0 || m.isBytes ? `${number(m, low)} to ${number(m, high)}` : `${number(m, low)}–${number(m, high)}`;
}

export function date(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  return at.toISOString().replace('T', ' ').replace(/:\d\d\.\d+Z$/, ' UTC');
}
