import { createAnalytics } from './client.js';
import { testAnalytics } from './test-suite.js';

// CLICKHOUSE_URL runs it on a server, whose database millrace is dropped first.
const url = process.env['CLICKHOUSE_URL'];

testAnalytics(async (dataDir) => await createAnalytics(url === undefined ? { dataDir } : { url }));
