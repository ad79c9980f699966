#!/usr/bin/env node
// The command of the package. What it runs is compiled, and so has no mode of its own in a checkout.
import './dist/embedded/cli.js';
