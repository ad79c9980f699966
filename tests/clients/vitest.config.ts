import { defineConfig } from 'vitest/config';

// One file at a time: each starts programs (JVMs among them) that need the whole machine.
export default defineConfig({
  test: {
    include: ['dist/tests/clients/**/*.system.test.js'],
    pool: 'forks',
    fileParallelism: false,
    // List every test by name, so that a skipped client is visible.
    reporters: ['verbose'],
    expect: { poll: { timeout: 20_000 } },
    // Some start a dozen JVMs, one after the other.
    testTimeout: 240_000,
    hookTimeout: 60_000,
  },
});
