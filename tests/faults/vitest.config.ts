import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['dist/tests/faults/*.system.test.js'],
    pool: 'forks',
    fileParallelism: false,
    reporters: ['verbose'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
