import { defineConfig } from 'vitest/config';

// They need tools beyond Node (install.sh), so `npm test` leaves them out.
export default defineConfig({
  test: {
    include: ['dist/tests/deploy/**/*.system.test.js'],
    pool: 'forks',
    maxWorkers: 2,
    // Every test by name, so that what is skipped can be seen.
    reporters: ['verbose'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
