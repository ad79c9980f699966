import { describe } from 'vitest';
import { startClickHouseEndpoint } from '../embedded/clickhouse/endpoint.js';
import { Chdb } from '../embedded/clickhouse/chdb.js';
import { createAnalytics } from './client.js';
import { testAnalytics } from './testing/analytics.test-suite.js';

describe('analytics on the embedded engine over HTTP', () => {
  testAnalytics(async (dataDir) => {
    const chdb = await Chdb.open(dataDir);
    const endpoint = await startClickHouseEndpoint({ host: '127.0.0.1', port: 0, chdb });
    const analytics = createAnalytics({ url: `http://127.0.0.1:${endpoint.port}` });
    const close = async () => {
      await analytics.close();
      await endpoint.stop();
      await chdb.close();
    };
    return { ...analytics, close };
  });
});
