import type { Topics } from '../storage/topics.js';
import type { TransactionLogs } from './transaction-coordinator.js';

/** The broker's topics as the transaction coordinator sees them. */
export function transactionLogs(topics: Topics): TransactionLogs {
  return {
    exists: (topic, partition) => topics.log(topic, partition) !== undefined,
    async appendMarker(topic, partition, producerId, epoch, committed) {
      await topics.log(topic, partition)?.appendMarker(producerId, epoch, committed);
    },
    open: () =>
      topics
        .all()
        .flatMap(({ name, partitions }) =>
          partitions.flatMap(({ partition, producers }) =>
            producers.open().map((producer) => ({ topic: name, partition, ...producer })),
          ),
        ),
  };
}
