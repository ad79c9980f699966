#!/usr/bin/env node
import { existsSync } from 'node:fs';

// A checkout compiles what has changed; the package has only compiled code.
const setup = new URL('../scripts/setup.mjs', import.meta.url);
const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(setup)) await import(setup.href);
if (!existsSync(main)) {
  console.error('This package has no compiled code: run `npm run build` before `npm pack`.');
  process.exit(1);
}
await import(main.href);
