import { createAnalytics } from '../../../analytics/client.js';
import { startClickHouseEndpoint } from '../../../embedded/clickhouse/endpoint.js';

/** The embedded ClickHouse in a process of its own, to be killed apart from what uses it. */
const { chdb } = await createAnalytics({ dataDir: process.env['DATA_DIR'] });
if (chdb === undefined) throw new Error('no embedded engine');
await startClickHouseEndpoint({ host: '127.0.0.1', port: Number(process.env['CLICKHOUSE_PORT']), chdb });
