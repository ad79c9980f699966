import { defineConfig } from 'vitest/config';

// One file at a time: each starts programs (JVMs among them) that want the whole machine.
export default defineConfig({
  test: {
    include: ['dist/tests/clients/**/*.system.test.js'],
    pool: 'forks',
    fileParallelism: false,
    // Every test by name, so that a client that is skipped can be seen.
    reporters: ['verbose'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
