import type { ClickHouseClient } from '@clickhouse/client';
import type { Logger } from '../platform/logger.js';

/** A part of a table that ClickHouse could not read and has detached. Its rows are missing. */
export interface DamagedPart {
  table: string;
  name: string;
  /** Reason from ClickHouse, such as `broken-on-start`. */
  reason: string;
}

/** Returns the damaged parts of the database `millrace`. */
export async function damagedParts(ask: (query: string) => Promise<unknown[]>): Promise<DamagedPart[]> {
  const rows = await ask(
    "SELECT table, name, reason FROM system.detached_parts WHERE database = 'millrace' AND startsWith(reason, 'broken') ORDER BY table, name",
  );
  return rows as DamagedPart[];
}

function askerOf(client: ClickHouseClient): (query: string) => Promise<unknown[]> {
  return async (query) => (await client.query({ query, format: 'JSONEachRow' })).json();
}

/** Degraded while there are {@link damagedParts}. @throws if ClickHouse is unavailable. */
export async function storageHealth(
  client: ClickHouseClient,
): Promise<{ status: 'up' } | { status: 'degraded'; detail: string }> {
  const parts = await damagedParts(askerOf(client));
  if (parts.length === 0) return { status: 'up' };
  const [first] = parts;
  const others = parts.length === 1 ? '' : ` and ${parts.length - 1} more`;
  return {
    status: 'degraded',
    detail: `The part ${first?.name} of millrace.${first?.table}${others} is damaged, and its rows are missing. Run millrace doctor.`,
  };
}

/** Logs {@link damagedParts} at level error. */
export async function logDamage(client: ClickHouseClient, logger: Logger): Promise<void> {
  for (const part of await damagedParts(askerOf(client))) {
    logger.error(
      part,
      'ClickHouse: a part of a table is damaged, and its rows are missing. Run millrace doctor and millrace audit.',
    );
  }
}
