import type { Kafka } from 'kafkajs';
import { toMillraceError } from './kafka-errors.js';
import { type CoordinatorCluster, patientCoordinators } from './kafkajs-coordinators.js';
import { type Cluster, createCluster } from './log-cluster.js';

type Coordinators = ReturnType<typeof patientCoordinators>;

/** The part of an answer to OffsetFetch that is read here. */
interface FetchedOffsets {
  responses: { partitions: { offset: string }[] }[];
}

const ofGroup = 0;

/**
 * Reads positions of consumer groups from their coordinators. kafkajs' own call asks only for the partitions
 * that it knows, and may learn of an added one five minutes later: without an offset, all of its records would
 * be processed again.
 */
export class GroupPositions {
  readonly #kafka: Kafka;
  #connecting: Promise<{ cluster: Cluster; coordinators: Coordinators }> | undefined;

  constructor(kafka: Kafka) {
    this.#kafka = kafka;
  }

  /**
   * Returns the next offset that the group reads of a partition: 0 without a commit.
   *
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`.
   */
  async next(groupId: string, topic: string, partition: number): Promise<number> {
    const connecting = (this.#connecting ??= this.#connect());
    try {
      const { coordinators } = await connecting;
      const coordinator = await coordinators.findGroupCoordinator({ groupId, coordinatorType: ofGroup });
      const topics = [{ topic, partitions: [{ partition }] }];
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped inside of kafkajs
      const { responses } = (await coordinator.offsetFetch({ groupId, topics })) as FetchedOffsets;
      const offset = responses[0]?.partitions[0]?.offset;
      if (offset === undefined) throw new Error('the answer lacks the partition');
      return Math.max(0, Number(offset));
    } catch (error) {
      // Brokers may have other addresses by now: the next call begins with those of the settings.
      if (this.#connecting === connecting) await this.close();
      throw toMillraceError(error, `Reading the offset of group ${groupId} in ${topic}/${partition}`);
    }
  }

  async close(): Promise<void> {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    await connecting?.then(({ cluster }) => cluster.disconnect()).catch(() => undefined);
  }

  async #connect(): Promise<{ cluster: Cluster; coordinators: Coordinators }> {
    const cluster = createCluster(this.#kafka);
    try {
      await cluster.connect();
      await cluster.refreshMetadata();
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- another part of kafkajs' cluster
      const coordinators = patientCoordinators(cluster as unknown as CoordinatorCluster);
      return { cluster, coordinators };
    } catch (error) {
      await cluster.disconnect().catch(() => undefined);
      throw error;
    }
  }
}
