import type { ClickHouseClient } from '@clickhouse/client';
import type { Logger } from '../platform/logger.js';

/** A part of a table that ClickHouse could not read and put aside. Its rows are not in the table any more. */
export interface DamagedPart {
  table: string;
  name: string;
  /** ClickHouse's word for it, such as `broken-on-start`. */
  reason: string;
}

/** The damaged parts of the database `millrace`. */
export async function damagedParts(ask: (query: string) => Promise<unknown[]>): Promise<DamagedPart[]> {
  const rows = await ask(
    "SELECT table, name, reason FROM system.detached_parts WHERE database = 'millrace' AND startsWith(reason, 'broken') ORDER BY table, name",
  );
  return rows as DamagedPart[];
}

/** Logs what {@link damagedParts} finds, at level error. */
export async function logDamage(client: ClickHouseClient, logger: Logger): Promise<void> {
  const ask = async (query: string) => (await client.query({ query, format: 'JSONEachRow' })).json();
  for (const part of await damagedParts(ask)) {
    logger.error(
      part,
      'ClickHouse: a part of a table is damaged, and its rows are missing. Run millrace doctor and millrace audit.',
    );
  }
}
