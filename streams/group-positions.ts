import type { Kafka } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
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
   * @throws kafkajs' errors; MillraceError `LOG_UNAVAILABLE` for an answer without the partition.
   */
  async next(groupId: string, topic: string, partition: number): Promise<number> {
    const { coordinators } = await this.#open();
    const coordinator = await coordinators.findGroupCoordinator({ groupId, coordinatorType: ofGroup });
    const answer = await coordinator.offsetFetch({
      groupId,
      topics: [{ topic, partitions: [{ partition }] }],
    });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped inside of kafkajs
    const offset = (answer as FetchedOffsets).responses[0]?.partitions[0]?.offset;
    if (offset !== undefined) return Math.max(0, Number(offset));
    throw new MillraceError(
      'LOG_UNAVAILABLE',
      `The coordinator of group ${groupId} did not say where it is in ${topic}/${partition}.`,
    );
  }

  async close(): Promise<void> {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    await connecting?.then(({ cluster }) => cluster.disconnect()).catch(() => undefined);
  }

  #open(): Promise<{ cluster: Cluster; coordinators: Coordinators }> {
    this.#connecting ??= this.#connect();
    return this.#connecting;
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
      this.#connecting = undefined;
      await cluster.disconnect().catch(() => undefined);
      throw error;
    }
  }
}
