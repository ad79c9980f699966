import { defineConfig } from 'vitest/config';

// Its client is kafkajs as published; streams/kafkajs.ts replaces parts of the copy that a process has.
const contract = 'dist/tests/contract/**';

// Tests run on the compiled output: what is tested is what ships, and worker threads load the same files.
export default defineConfig({
  test: {
    // Files share processes: to start one for each, and to load the system in it, takes longer than most of them do.
    // One group after the other: a process goes on with the next file only if that is of its group.
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['dist/**/*.unit.test.js'],
          isolate: false,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['dist/**/*.{int,e2e}.test.js'],
          // They need client programs of other languages, or tools: npm run test:clients, npm run test:deploy.
          // What hostile clients do to the whole system: npm run test:hostile.
          // Minutes of faults on Apache Kafka: npm run test:faults.
          exclude: [
            contract,
            'dist/tests/clients/**',
            'dist/tests/deploy/**',
            'dist/tests/faults/*.e2e.test.js',
            'dist/tests/hostile/**',
          ],
          isolate: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: 'contract', include: [`${contract}/*.int.test.js`], sequence: { groupOrder: 2 } },
      },
    ],
    pool: 'forks',
    // Node itself loads what ships, as it does for users; vitest takes a fifth longer to load it for each file.
    server: { deps: { external: [/\/dist\/(?!tests\/)(?!.*\/testing\/)(?!.*\.test\.js$)/] } },
    setupFiles: ['dist/tests/setup/node-version.js'],
    // Most tests wait for engines: four files at a time fit two cores, and the default there is one.
    maxWorkers: 4,
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
