// Small helpers that build the page. Everything that comes from data goes in through text nodes or attributes set one by one;
// innerHTML is used nowhere, because predictions and error texts are hostile until proven otherwise.

export type Child = Node | string | number | null | undefined | false | Child[];
type Handler = (event: never) => void;
type Props = Record<string, string | number | boolean | null | undefined | Handler>;

function append(parent: Node, child: Child): void {
  if (child === null || child === undefined || child === false) return;
  if (Array.isArray(child)) child.forEach((c) => append(parent, c));
  else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
}

function apply(element: Element, props: Props, children: Child[]): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.replace(/^on/, ''), value as EventListener);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
}

/** h('th', {class: 'num', onclick: f}, 'text', node): an HTML element. `on…` adds a listener, false and null attributes are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  apply(element, props, children);
  return element;
}

/** The same for SVG. */
export function s<K extends keyof SVGElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  apply(element, props, children);
  return element;
}

/** Puts `children` in place of what `parent` holds. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

export interface Option {
  value: string;
  label: string;
  group?: string;
}

/** A labelled <select>; options with the same `group` stand together. */
export function select(label: string, options: Option[], value: string, onpick: (value: string) => void, name: string): HTMLLabelElement {
  const box = h('select', { name, onchange: () => onpick(box.value) });
  const groups = new Map<string, HTMLOptGroupElement>();
  for (const o of options) {
    const option = h('option', { value: o.value, selected: o.value === value }, o.label);
    if (!o.group) {
      box.append(option);
      continue;
    }
    let group = groups.get(o.group);
    if (!group) {
      group = h('optgroup', { label: o.group });
      groups.set(o.group, group);
      box.append(group);
    }
    group.append(option);
  }
  return h('label', { class: 'field' }, h('span', {}, label), box);
}

/** Hands `content` to the reader as a file. */
export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A file name made from text that came from data. */
export function fileName(...parts: string[]): string {
  return parts.map((p) => p.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[-.]+|-+$/g, '')).filter(Boolean).join('-') || 'lathe';
}
