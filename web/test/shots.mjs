// Takes the screenshots in test/out: node test/shots.mjs
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch, out, pageWith } from './browser.mjs';

const report = JSON.parse(readFileSync(new URL('sample.json', import.meta.url), 'utf8'));
const url = pageWith(report);
const { open, close } = await launch();
for (const colorScheme of ['light', 'dark']) {
  const { page } = await open(url, { colorScheme });
  await page.screenshot({ path: join(out, `page-${colorScheme}.png`), fullPage: true });
  await page.getByRole('button', { name: 'nf4-dq', exact: true }).click();
  await page.screenshot({ path: join(out, `panel-results-${colorScheme}.png`) });
  await page.getByRole('tab', { name: 'Predictions' }).click();
  await page.screenshot({ path: join(out, `panel-predictions-${colorScheme}.png`) });
  await page.getByRole('tab', { name: 'Layers' }).click();
  await page.screenshot({ path: join(out, `panel-layers-${colorScheme}.png`) });
}
const narrow = await open(url, { viewport: { width: 800, height: 1000 } });
await narrow.page.screenshot({ path: join(out, 'page-800.png'), fullPage: true });
const all = await open(url, { colorScheme: 'dark' });
await all.page.selectOption('select[name=model]', '');
await all.page.selectOption('select[name=quality]', 'perplexity/ppl');
await all.page.screenshot({ path: join(out, 'page-all-models-ppl.png'), fullPage: true });
await close();
