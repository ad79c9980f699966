import { Chdb } from '../../embedded/clickhouse/chdb.js';
import { type Analytics, createAnalytics } from '../client.js';

/** Opens ClickHouse in this process, and creates its folder if missing. Only one at a time. */
export async function openEmbeddedAnalytics(dataDir: string): Promise<Analytics> {
  const chdb = await Chdb.open(dataDir);
  return createAnalytics({ connection: chdb.connection() });
}
