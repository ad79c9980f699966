import { defineConfig } from 'vitest/config';

// One file at a time: several of them fill memory, logs or queues on purpose.
export default defineConfig({
  test: {
    include: ['dist/tests/hostile/**/*.system.test.js'],
    pool: 'forks',
    fileParallelism: false,
    reporters: ['verbose'],
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
