import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['dist/tests/zoo/**/*.system.test.js'],
    pool: 'forks',
    fileParallelism: false,
    reporters: ['verbose'],
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 60_000,
    hookTimeout: 240_000,
  },
});
