import { defineConfig } from 'vitest/config';

// Tests run on the compiled output: what is tested is what ships, and worker threads load the same files.
export default defineConfig({
  test: {
    include: ['dist/**/*.{unit,int,e2e}.test.js'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
