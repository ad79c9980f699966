/** A topic as it should be. */
export interface TopicSpec {
  name: string;
  partitions: number;
  /** Topic settings by Kafka's names, for example `retention.ms`. What is not named is the broker's default. */
  config?: Record<string, string>;
  /** Whether a topic that exists with another `cleanup.policy` gets these settings: earlier versions made it otherwise. */
  upgraded?: boolean;
}

/** The topics of one pipeline, by what they carry. */
export interface PipelineTopics {
  events: string;
  predictions: string;
  deadLetters: string;
  /** The truth about events, when it becomes known. */
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

/** Of topics that are written all the time and read at every start: small segments are compacted soon. */
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
 * What the topics of a pipeline should look like. The log is the only truth, so events, predictions and outcomes are
 * kept for good; dead letters for 90 days. A dead letter is an event and headers around it, so it may be larger.
 *
 * @param partitions - of each topic that is made; one that exists keeps what it has.
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
 * The topics of the whole system: models by name and version, the last run of each schedule and what came last from each
 * RabbitMQ queue and of each file job (newest state each).
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
