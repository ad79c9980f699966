import { Chdb } from '../../embedded/clickhouse/chdb.js';
import { type Analytics, createAnalytics } from '../client.js';

/** ClickHouse in this process, on a folder that is made when missing. One at a time. */
export async function openEmbeddedAnalytics(dataDir: string): Promise<Analytics> {
  const chdb = await Chdb.open(dataDir);
  return createAnalytics({ connection: chdb.connection() });
}
