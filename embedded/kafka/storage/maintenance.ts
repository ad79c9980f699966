import type { Services } from '../services.js';
import { compactLog } from './compaction.js';
import { applyRetention } from './retention.js';

/**
 * An idempotent producer without writes is forgotten after this time (Kafka's `producer.id.expiration.ms`).
 */
const producerExpiryMs = 24 * 3600 * 1000;

/** Runs all tasks that limit disk and memory, once. */
export async function maintain({ topics, groups, transactions, clock }: Services): Promise<void> {
  const now = clock.now();
  for (const { partitions } of topics.all()) {
    for (const log of partitions) {
      log.producers.prune(log.logStart, now - producerExpiryMs, now);
      await applyRetention(log, now, (offset) => topics.deleteRecords(log, offset));
      if (log.config.compact) await log.withRepair(() => compactLog(log, now));
    }
  }
  await groups.expire();
  await transactions.expireIds();
}
