import { defineConfig } from 'vitest/config';

// They need tools besides Node (install.sh), so `npm test` leaves them out.
export default defineConfig({
  test: {
    include: ['dist/tests/deploy/**/*.system.test.js'],
    pool: 'forks',
    maxWorkers: 2,
    // List every test by name, so that skipped ones are visible.
    reporters: ['verbose'],
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
