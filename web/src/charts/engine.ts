// The one place that knows Apache ECharts: only the parts in use are bundled, drawn as SVG.
import { BarChart, CustomChart, LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, TooltipComponent } from 'echarts/components';
import { init, use, type EChartsType } from 'echarts/core';
import { LabelLayout } from 'echarts/features';
import { SVGRenderer } from 'echarts/renderers';
import { download, fileName, h, s } from '../dom';

use([BarChart, CustomChart, LineChart, ScatterChart, GridComponent, TooltipComponent, LabelLayout, SVGRenderer]);

export interface Colours {
  ink: string;
  muted: string;
  line: string;
  panel: string;
  accent: string;
  star: string;
  worse: string;
  better: string;
  font: string;
}

/** The page's colours as the style sheet has them now. */
export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const get = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ink: get('--ink'), muted: get('--muted'), line: get('--line'), panel: get('--panel'), accent: get('--accent'), star: get('--star'),
    worse: get('--worse'), better: get('--better'), font: get('--sans'),
  };
}

/** One thing in a chart that can be pointed at: where it is among the series, what it says, what it opens. */
export interface Target {
  seriesIndex: number;
  dataIndex: number;
  text: string;
  open: () => void;
}

export interface Drawing {
  option: Record<string, unknown>;
  targets: Target[];
  /** Said to those who do not see the drawing. */
  summary: string;
  height: number;
}

/** The drawing in pixels: where a point of the chart stands, whether a pixel is inside the axes, how wide it is. For use once the axes are laid out. */
export interface Screen {
  at: (x: number, y: number) => [number, number];
  inside: (x: number, y: number) => boolean;
  width: () => number;
}

/** Makes the drawing, or says in a sentence why there is none. */
export type Make = (c: Colours, screen: Screen) => Drawing | string;

export interface Chart {
  element: HTMLElement;
  draw: (make: Make) => void;
}

const charts: (() => void)[] = [];
let observer: ResizeObserver | null = null;

/** Forgets the charts of a page that is replaced. */
export function resetCharts(): void {
  charts.length = 0;
  observer?.disconnect();
}

/** Draws all charts again with the colours of the theme that is now on. */
export function recolour(): void {
  charts.forEach((again) => again());
}

/** The drawing as an SVG document. Serialized from the page's own nodes: ECharts' export does not escape quotes in font names. */
function svgText(engine: EChartsType, background: string): string {
  const live = engine.getDom().querySelector('svg');
  if (!live) throw new Error('nothing is drawn yet');
  const copy = live.cloneNode(true) as SVGSVGElement;
  copy.querySelectorAll('[class]').forEach((e) => e.removeAttribute('class'));
  copy.removeAttribute('style');
  copy.prepend(s('rect', { width: '100%', height: '100%', fill: background }));
  return new XMLSerializer().serializeToString(copy);
}

/** Saves the drawing as SVG, or through a canvas at twice its size as PNG. */
async function save(engine: EChartsType, name: string, type: 'svg' | 'png'): Promise<void> {
  const background = colours().panel;
  const text = svgText(engine, background);
  const svg = new Blob([text], { type: 'image/svg+xml' });
  if (type === 'svg') return download(`${name}.svg`, svg);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = h('canvas', { width: engine.getWidth() * 2, height: engine.getHeight() * 2 });
  const brush = canvas.getContext('2d');
  if (!brush) throw new Error('this browser gives no canvas');
  brush.fillStyle = background;
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(image, 0, 0, canvas.width, canvas.height);
  const png = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'));
  if (png) download(`${name}.png`, png);
}

/** A card with a title, controls, a drawing that arrow keys walk through, and its export buttons. */
export function makeChart(title: string, controls: HTMLElement[] = []): Chart {
  const plot = h('div', { class: 'plot', tabindex: 0, role: 'group', 'aria-roledescription': 'chart' });
  const empty = h('p', { class: 'empty', hidden: true });
  const live = h('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  const status = h('span', { class: 'save-status', role: 'status' });
  let engine: EChartsType | null = null;
  let make: Make | null = null;
  const screen: Screen = {
    at: (x, y) => engine!.convertToPixel({ gridIndex: 0 }, [x, y]) as [number, number],
    inside: (x, y) => engine!.containPixel({ gridIndex: 0 }, [x, y]),
    width: () => engine!.getWidth(),
  };
  let targets: Target[] = [];
  let current = -1;

  const redraw = (): void => {
    if (!make) return;
    const drawing = make(colours(), screen);
    const nothing = typeof drawing === 'string';
    empty.hidden = !nothing;
    plot.hidden = nothing;
    exports.hidden = nothing;
    if (nothing) {
      empty.textContent = drawing;
      return;
    }
    plot.style.height = `${drawing.height}px`;
    plot.setAttribute('aria-label', `${title}. ${drawing.summary} Arrow keys move from variant to variant, Enter opens one.`);
    targets = drawing.targets;
    current = -1;
    if (!engine) {
      engine = init(plot, null, { renderer: 'svg' });
      engine.on('click', (e) => targets.find((t) => t.seriesIndex === e.seriesIndex && t.dataIndex === e.dataIndex)?.open());
      observer ??= new ResizeObserver((entries) => entries.forEach((e) => e.target.dispatchEvent(new Event('lathe-resize'))));
      plot.addEventListener('lathe-resize', () => { if (!plot.hidden) engine?.resize(); });
      observer.observe(plot);
    }
    engine.setOption(drawing.option, { notMerge: true });
    engine.resize();
  };

  const move = (step: number): void => {
    if (!engine || targets.length === 0) return;
    if (current >= 0) engine.dispatchAction({ type: 'downplay', ...where(targets[current]!) });
    current = current < 0 ? (step > 0 ? 0 : targets.length - 1) : (current + step + targets.length) % targets.length;
    const target = targets[current]!;
    engine.dispatchAction({ type: 'highlight', ...where(target) });
    engine.dispatchAction({ type: 'showTip', ...where(target) });
    live.textContent = target.text;
  };
  const leave = (): void => {
    if (engine && current >= 0) engine.dispatchAction({ type: 'downplay', ...where(targets[current]!) });
    engine?.dispatchAction({ type: 'hideTip' });
    current = -1;
  };
  plot.addEventListener('blur', leave);
  plot.addEventListener('keydown', (e) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (step) move(step);
    else if (e.key === 'Escape' && current >= 0) leave();
    else if (e.key === 'Enter' && current >= 0) targets[current]!.open();
    else return;
    e.preventDefault();
  });

  const button = (type: 'svg' | 'png'): HTMLButtonElement => h('button', { type: 'button', class: 'button quiet', title: `Save as ${type.toUpperCase()}`, onclick: () => {
    if (!engine) return;
    status.textContent = '';
    save(engine, fileName('lathe', title.toLowerCase()), type).catch((error: Error) => { status.textContent = `Not saved: ${error.message}`; });
  } }, type.toUpperCase());
  const exports = h('div', { class: 'exports' }, button('png'), button('svg'));
  const element = h('section', { class: 'card chart', 'aria-label': title },
    h('div', { class: 'card-head' }, h('h2', {}, title), h('div', { class: 'actions' }, status, controls, exports)), plot, empty, live);
  charts.push(redraw);
  return { element, draw: (m) => { make = m; redraw(); } };
}

function where(t: Target): { seriesIndex: number; dataIndex: number } {
  return { seriesIndex: t.seriesIndex, dataIndex: t.dataIndex };
}
