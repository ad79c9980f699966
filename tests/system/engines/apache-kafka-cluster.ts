import { freePorts } from '../programs.js';
import { ApacheKafka, type ApacheKafkaOptions } from './apache-kafka.js';

/**
 * A cluster of several Apache Kafka brokers: the first is also the controller and must not be stopped. Topics
 * have a copy on each broker, and a write needs all but one.
 */
export class ApacheKafkaCluster {
  readonly nodes: readonly ApacheKafka[];

  private constructor(nodes: readonly ApacheKafka[]) {
    this.nodes = nodes;
  }

  /** @param options - of each broker. Resolves when all serve clients. */
  static async start(
    count: number,
    { settings, ...options }: Omit<ApacheKafkaOptions, 'member'> = {},
  ): Promise<ApacheKafkaCluster> {
    const { controller } = await freePorts('controller');
    const clusterId = 'bWlsbHJhY2UtdGVzdHMtMQ';
    const copies = {
      'default.replication.factor': count,
      'min.insync.replicas': Math.max(1, count - 1),
      'offsets.topic.replication.factor': count,
      'transaction.state.log.replication.factor': count,
      'transaction.state.log.min.isr': Math.max(1, count - 1),
    };
    const nodes: ApacheKafka[] = [];
    try {
      for (let id = 1; id <= count; id++)
        nodes.push(
          await ApacheKafka.start({
            ...options,
            settings: { ...copies, ...settings },
            member: { id, controller, clusterId },
          }),
        );
    } catch (error) {
      await Promise.all(nodes.map((node) => node.stop()));
      throw error;
    }
    return new ApacheKafkaCluster(nodes);
  }

  /** For `KAFKA_BROKERS`. */
  get brokers(): string[] {
    return this.nodes.flatMap(({ brokers }) => brokers);
  }

  /** Resolves when a broker exits unexpectedly, with its exit status. */
  ended(): Promise<string> {
    return Promise.race(this.nodes.map((node) => node.ended()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}
