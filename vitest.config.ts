import { defineConfig } from 'vitest/config';

// Tests run on the compiled output: what is tested is what ships, and worker threads load the same files.
export default defineConfig({
  test: {
    include: ['dist/**/*.{unit,component,system}.test.js'],
    // They need client programs of other languages, or tools: npm run test:clients, test:deploy, test:zoo.
    // What hostile clients do to the whole system: npm run test:hostile.
    // Minutes of faults on Apache Kafka: npm run test:faults.
    exclude: [
      'dist/tests/clients/**',
      'dist/tests/deploy/**',
      'dist/tests/faults/*.system.test.js',
      'dist/tests/hostile/**',
      'dist/tests/zoo/**/*.system.test.js',
    ],
    pool: 'forks',
    // Node itself loads what ships, as it does for users; vitest takes a fifth longer to load it for each
    // file.
    server: { deps: { external: [/\/dist\/(?!tests\/)(?!.*\/testing\/)(?!.*\.test\.js$)/] } },
    setupFiles: ['dist/tests/setup/node-version.js', 'dist/tests/setup/shared-process.js'],
    // Most tests wait for engines: four files at a time fit two cores, and the default there is one.
    maxWorkers: 4,
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
