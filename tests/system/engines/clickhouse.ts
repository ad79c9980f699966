import { Chdb } from '../../../embedded/clickhouse/chdb.js';
import { startClickHouseEndpoint } from '../../../embedded/clickhouse/endpoint.js';

/** The embedded ClickHouse in a process of its own, to be killed apart from what uses it. */
const chdb = await Chdb.open(process.env['DATA_DIR'] ?? '');
await startClickHouseEndpoint({ host: '127.0.0.1', port: Number(process.env['CLICKHOUSE_PORT']), chdb });
