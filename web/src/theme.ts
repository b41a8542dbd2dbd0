// Light, dark, or as the system says; remembered where the browser allows it (pages from file:// may not be).
import { h } from './dom';

const KEY = 'lathe-report-theme';
const NAMES = ['auto', 'light', 'dark'] as const;
type Theme = (typeof NAMES)[number];

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY) as Theme | null;
    return value && NAMES.includes(value) ? value : 'auto';
  } catch {
    return 'auto';
  }
}

function keep(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** The switch; `changed` is called whenever the colours of the page change. */
export function themeSwitch(changed: () => void): HTMLElement {
  let theme = stored();
  const apply = (): void => {
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
  };
  apply();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { if (theme === 'auto') changed(); });
  const radios = NAMES.map((name) => h('label', {},
    h('input', { type: 'radio', name: 'theme', value: name, checked: name === theme, onchange: () => {
      theme = name;
      keep(name);
      apply();
      changed();
    } }), h('span', {}, name[0]!.toUpperCase() + name.slice(1))));
  return h('fieldset', { class: 'switch' }, h('legend', { class: 'visually-hidden' }, 'Colours'), radios);
}
