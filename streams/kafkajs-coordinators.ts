import { backoff } from '../platform/backoff.js';
import { coordinatorIsBusy, coordinatorMoved, typeOf } from './kafka-errors.js';

/** How long a coordinator is remembered: less if it says, or turns out, that it coordinates no more. */
const maxAgeMs = 1_000;

/** How long a request waits for its coordinator. Then it fails. */
const patienceMs = 5_000;

/** Requests that kafkajs sends once, or whose refusals it doesn't know by their names. */
const requests = [
  'addPartitionsToTxn',
  'addOffsetsToTxn',
  'txnOffsetCommit',
  'endTxn',
  'offsetFetch',
] as const;

/** The coordinator of a group (type 0), or of a transactional id (type 1). */
interface Wanted {
  groupId: string;
  coordinatorType: number;
}

type Send = (fields: unknown) => Promise<unknown>;
type Broker = { nodeId: number } & Record<(typeof requests)[number], Send>;

/** What kafkajs' transactions use of a cluster. */
export interface CoordinatorCluster {
  /** How often and when its requests are tried again. */
  retry?: unknown;
  refreshMetadataIfNecessary(): Promise<void>;
  /** Whether a broker is connected; none is after the producer has been closed. */
  isConnected(): boolean;
  findControllerBroker(): Promise<unknown>;
  findGroupCoordinator(wanted: Wanted): Promise<Broker>;
  /** A known broker, connected: it sends a request only if it is not. */
  findBroker(options: { nodeId: number }): Promise<Broker>;
}

/**
 * Asks for a coordinator once a second, and sends it a request again that it refused for the moment. kafkajs
 * asks four times in each transaction, and waits for each answer as long as for one of the transaction
 * itself; a refusal ends its transaction, or makes it read the metadata of the cluster.
 *
 * @param now - milliseconds.
 */
export function patientCoordinators(
  cluster: CoordinatorCluster,
  now: () => number = () => performance.now(),
): Omit<CoordinatorCluster, 'findBroker' | 'isConnected'> {
  const known = new Map<string, { nodeId: number; at: number }>();
  const keyOf = ({ coordinatorType, groupId }: Wanted): string => `${coordinatorType}/${groupId}`;

  async function find(wanted: Wanted): Promise<Broker> {
    const last = known.get(keyOf(wanted));
    if (last !== undefined && now() - last.at < maxAgeMs) {
      try {
        return await cluster.findBroker({ nodeId: last.nodeId });
      } catch {
        // It is gone: another one coordinates.
      }
    }
    const broker = await cluster.findGroupCoordinator(wanted);
    known.set(keyOf(wanted), { nodeId: broker.nodeId, at: now() });
    return broker;
  }

  async function send(
    wanted: Wanted,
    first: Broker,
    request: (typeof requests)[number],
    fields: unknown,
  ): Promise<unknown> {
    const until = now() + patienceMs;
    let broker = first;
    for (let attempt = 0; ; attempt++) {
      try {
        return await broker[request](fields);
      } catch (error) {
        const type = typeOf(error);
        const hasMoved = coordinatorMoved.has(type);
        if (!(hasMoved || coordinatorIsBusy.has(type))) throw error;
        // kafkajs would begin to wait again.
        if (now() >= until) throw Object.assign(error as Error, { retriable: false });
        await backoff(attempt, { firstMs: 2, maxMs: 200 });
        // A request would connect again.
        if (!cluster.isConnected()) throw error;
        if (!hasMoved) continue;
        known.delete(keyOf(wanted));
        broker = await find(wanted);
      }
    }
  }

  return {
    retry: cluster.retry,
    refreshMetadataIfNecessary: () => cluster.refreshMetadataIfNecessary(),
    findControllerBroker: () => cluster.findControllerBroker(),
    async findGroupCoordinator(wanted) {
      const broker = await find(wanted);
      const patient = requests.map((request) => [
        request,
        (fields: unknown) => send(wanted, broker, request, fields),
      ]);
      return Object.assign(Object.create(broker) as Broker, Object.fromEntries(patient));
    },
  };
}
