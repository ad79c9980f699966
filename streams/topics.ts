/** The desired state of a topic. */
export interface TopicSpec {
  name: string;
  partitions: number;
  /**
   * Topic settings by Kafka's names, for example `retention.ms`. Other settings have the broker's default.
   */
  config?: Record<string, string>;
  /**
   * Whether an existing topic with another `cleanup.policy` gets these settings: earlier versions created it
   * differently.
   */
  upgraded?: boolean;
}

/** The topics of one pipeline, by their content. */
export interface PipelineTopics {
  events: string;
  predictions: string;
  deadLetters: string;
  /** Actual outcomes of events, once known. */
  outcomes: string;
}

/** The consumer group of the copies that score a pipeline's events. */
export function scoringGroup(pipeline: string): string {
  return `millrace-score-${pipeline}`;
}

/** The consumer group of the copies that store results in ClickHouse. */
export const sinkGroup = 'millrace-sink';

/** Topics of the whole system. */
export const systemTopics = {
  models: 'millrace.models',
  jobs: 'millrace.jobs',
  schedules: 'millrace.schedules',
  rabbitmq: 'millrace.rabbitmq',
} as const;

/**
 * Settings of topics that are written all the time and read at every start: small segments are compacted
 * early.
 */
const compactedSoon = {
  'cleanup.policy': 'compact',
  'segment.bytes': String(16 * 1024 * 1024),
  'segment.ms': '600000',
};

const dayMs = 24 * 3_600_000;

export function pipelineTopics(pipeline: string): PipelineTopics {
  return {
    events: `${pipeline}.events`,
    predictions: `${pipeline}.predictions`,
    deadLetters: `${pipeline}.dead-letters`,
    outcomes: `${pipeline}.outcomes`,
  };
}

/**
 * Returns the desired topics of a pipeline. The log is the only source of truth, so events, predictions and
 * outcomes are kept permanently; dead letters for 90 days. A dead letter is an event with additional headers,
 * so it may be larger.
 *
 * @param partitions - of each new topic; an existing one keeps its number.
 */
export function pipelineTopicSpecs(pipeline: string, partitions: number): TopicSpec[] {
  const { events, predictions, deadLetters, outcomes } = pipelineTopics(pipeline);
  const kept = { 'cleanup.policy': 'delete', 'retention.ms': '-1' };
  return [
    { name: events, partitions, config: kept },
    { name: predictions, partitions, config: kept },
    {
      name: deadLetters,
      partitions,
      config: {
        'cleanup.policy': 'delete',
        'retention.ms': String(90 * dayMs),
        'max.message.bytes': String(2 * 1_048_588),
      },
    },
    { name: outcomes, partitions, config: kept },
  ];
}

/**
 * Returns the topics of the whole system: models by name and version, the last run of each schedule, the last
 * batches of each RabbitMQ queue, and each file job (newest state each).
 */
export function systemTopicSpecs(): TopicSpec[] {
  return [
    { name: systemTopics.models, partitions: 1, config: { 'cleanup.policy': 'compact' } },
    { name: systemTopics.jobs, partitions: 1, config: compactedSoon, upgraded: true },
    { name: systemTopics.schedules, partitions: 1, config: { 'cleanup.policy': 'compact' } },
    {
      name: systemTopics.rabbitmq,
      partitions: 1,
      config: compactedSoon,
    },
  ];
}
