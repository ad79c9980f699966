#!/usr/bin/env node
// The command of the package. Its target is compiled, and so has no file mode in a checkout.
import './dist/embedded/cli.js';
