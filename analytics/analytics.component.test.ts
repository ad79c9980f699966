import { describe } from 'vitest';
import { startClickHouse } from '../tests/system/engines/containers.js';
import { testEngines } from '../tests/system/engines/chosen.js';
import { createAnalytics } from './client.js';
import { testAnalytics } from './testing/analytics.test-suite.js';
import { openEmbeddedAnalytics } from './testing/embedded-analytics.js';

// CLICKHOUSE_URL runs it on a server, whose database millrace is dropped first;
// MILLRACE_TEST_ENGINES=containers on one of its own.
const url = process.env['CLICKHOUSE_URL'];

describe('analytics on the embedded engine in this process, or on a chosen server', () => {
  testAnalytics(async (dataDir) => {
    if (testEngines === 'containers') {
      const server = await startClickHouse();
      const analytics = createAnalytics({ url: server.url });
      return { ...analytics, close: () => analytics.close().then(() => server.engine.stop()) };
    }
    return url === undefined ? await openEmbeddedAnalytics(dataDir) : createAnalytics({ url });
  });
});
