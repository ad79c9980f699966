#!/usr/bin/env node
import '../scripts/setup.mjs';

await import('../dist/cli/main.js');
