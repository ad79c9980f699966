import { startClickHouse } from '../tests/system/engines/containers.js';
import { testEngines } from '../tests/system/engines/chosen.js';
import { createAnalytics } from './client.js';
import { testAnalytics } from './testing/analytics.test-suite.js';

// CLICKHOUSE_URL runs it on a server, whose database millrace is dropped first; MILLRACE_TEST_ENGINES=containers on one of its own.
const url = process.env['CLICKHOUSE_URL'];

testAnalytics(async (dataDir) => {
  if (testEngines === 'containers') {
    const server = await startClickHouse();
    const analytics = await createAnalytics({ url: server.url });
    return { ...analytics, close: () => analytics.close().then(() => server.engine.stop()) };
  }
  return await createAnalytics(url === undefined ? { dataDir } : { url });
});
