/**
 * How long a coordinator is remembered. If another broker has taken over meanwhile, the transaction fails as one under way
 * does then, and its producer is replaced by one that asks.
 */
const maxAgeMs = 1_000;

interface Wanted {
  groupId: string;
  coordinatorType: number;
}

/** What kafkajs' transactions use of a cluster. */
export interface CoordinatorCluster {
  /** How often and when its requests are tried again. */
  retry?: unknown;
  refreshMetadataIfNecessary(): Promise<void>;
  findControllerBroker(): Promise<unknown>;
  findGroupCoordinator(wanted: Wanted): Promise<{ nodeId: number }>;
  /** A known broker, connected: it sends a request only if it is not. */
  findBroker(options: { nodeId: number }): Promise<{ nodeId: number }>;
}

/**
 * Asks for a coordinator once a second. kafkajs asks four times in each transaction, and waits for each answer as long as
 * for one of the transaction itself.
 *
 * @param now - milliseconds.
 */
export function rememberCoordinators(
  cluster: CoordinatorCluster,
  now: () => number = () => performance.now(),
): Omit<CoordinatorCluster, 'findBroker'> {
  const known = new Map<string, { nodeId: number; at: number }>();
  return {
    retry: cluster.retry,
    refreshMetadataIfNecessary: () => cluster.refreshMetadataIfNecessary(),
    findControllerBroker: () => cluster.findControllerBroker(),
    async findGroupCoordinator(wanted) {
      const key = `${wanted.coordinatorType}/${wanted.groupId}`;
      const last = known.get(key);
      if (last !== undefined && now() - last.at < maxAgeMs) {
        try {
          return await cluster.findBroker({ nodeId: last.nodeId });
        } catch {
          // It is gone: another one coordinates.
        }
      }
      const broker = await cluster.findGroupCoordinator(wanted);
      known.set(key, { nodeId: broker.nodeId, at: now() });
      return broker;
    },
  };
}
