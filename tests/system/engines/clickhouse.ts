import { Chdb } from '../../../embedded/clickhouse/chdb.js';
import { startClickHouseEndpoint } from '../../../embedded/clickhouse/endpoint.js';

/** Runs the embedded ClickHouse in a separate process, which can be killed independently of its clients. */
const chdb = await Chdb.open(process.env['DATA_DIR'] ?? '');
await startClickHouseEndpoint({ host: '127.0.0.1', port: Number(process.env['CLICKHOUSE_PORT']), chdb });
