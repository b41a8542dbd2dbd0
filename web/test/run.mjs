// Runs all tests of the page against dist/report.html. CHROMIUM names the browser, /usr/bin/chromium if unset.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const files = ['unit.test.mjs', 'page.test.mjs', 'dashboard.test.mjs'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
process.exit(spawnSync(process.execPath, ['--test', '--test-concurrency=1', ...files], { stdio: 'inherit' }).status ?? 1);
