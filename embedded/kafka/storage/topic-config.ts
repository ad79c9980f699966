/** DescribeConfigs' type numbers. */
const configType = { boolean: 1, string: 2, int: 3, long: 5, list: 7 } as const;

interface ConfigDefinition {
  type: keyof typeof configType;
  default: string;
  /** Why a value is refused, or `undefined` when it is fine. */
  check(value: string): string | undefined;
  documentation: string;
}

const atLeast = (least: number) => (value: string) =>
  /^-?\d{1,16}$/.test(value) && Number(value) >= least
    ? undefined
    : `must be a whole number of at least ${least}`;
const oneOf =
  (...allowed: string[]) =>
  (value: string) =>
    allowed.includes(value) ? undefined : `must be one of ${allowed.join(', ')}`;

/** The topic settings this broker honours, with Kafka's names, units and (but for the segment size) defaults. */
export const topicConfigs: Readonly<Record<string, ConfigDefinition>> = {
  'cleanup.policy': {
    type: 'list',
    default: 'delete',
    check: oneOf('delete', 'compact', 'compact,delete', 'delete,compact'),
    documentation: 'Drop old segments (delete), keep the newest record of each key (compact), or both.',
  },
  'retention.ms': {
    type: 'long',
    default: String(7 * 24 * 3600 * 1000),
    check: atLeast(-1),
    documentation: 'Segments whose newest record is older are dropped. -1 keeps them.',
  },
  'retention.bytes': {
    type: 'long',
    default: '-1',
    check: atLeast(-1),
    documentation: 'The oldest segments are dropped while a partition is larger. -1 keeps them.',
  },
  'segment.bytes': {
    type: 'int',
    default: String(128 * 1024 * 1024),
    check: atLeast(1024),
    documentation: 'A segment file is closed before it grows beyond this.',
  },
  'segment.ms': {
    type: 'long',
    default: String(7 * 24 * 3600 * 1000),
    check: atLeast(1),
    documentation: 'A segment is closed when its first record is older than this.',
  },
  'delete.retention.ms': {
    type: 'long',
    default: String(24 * 3600 * 1000),
    check: atLeast(0),
    documentation: 'How long compaction keeps a tombstone, so that readers see the deletion.',
  },
  'max.message.bytes': {
    type: 'int',
    default: '1048588',
    check: atLeast(0),
    documentation: 'The largest record batch that is accepted.',
  },
  'message.timestamp.type': {
    type: 'string',
    default: 'CreateTime',
    check: oneOf('CreateTime', 'LogAppendTime'),
    documentation: "Whether records carry the producer's time or the broker's.",
  },
  'compression.type': {
    type: 'string',
    default: 'producer',
    check: oneOf('producer'),
    documentation: 'Batches are kept as the producer compressed them.',
  },
  'min.insync.replicas': {
    type: 'int',
    default: '1',
    check: oneOf('1'),
    documentation: 'One node has one replica.',
  },
};

export function configTypeNumber(definition: ConfigDefinition): number {
  return configType[definition.type];
}

export type ConfigValues = Readonly<Record<string, string>>;

/** The settings in the form the log works with. */
export interface LogConfig {
  compact: boolean;
  drop: boolean;
  retentionMs: number;
  retentionBytes: number;
  segmentBytes: number;
  segmentMs: number;
  deleteRetentionMs: number;
  maxBatchBytes: number;
  logAppendTime: boolean;
}

/** Explains the first invalid setting, or returns `undefined`. */
export function refusalOf(values: ConfigValues): string | undefined {
  for (const [name, value] of Object.entries(values)) {
    const definition = topicConfigs[name];
    if (definition === undefined)
      return `Unknown topic config ${name}: this broker knows ${Object.keys(topicConfigs).join(', ')}.`;
    const refusal = definition.check(value);
    if (refusal !== undefined) return `Invalid value ${value} for topic config ${name}: it ${refusal}.`;
  }
  return undefined;
}

export function logConfig(values: ConfigValues): LogConfig {
  const value = (name: string): string => values[name] ?? topicConfigs[name]?.default ?? '';
  const unlimited = (name: string): number => (Number(value(name)) < 0 ? Infinity : Number(value(name)));
  const policy = value('cleanup.policy').split(',');
  return {
    compact: policy.includes('compact'),
    drop: policy.includes('delete'),
    retentionMs: unlimited('retention.ms'),
    retentionBytes: unlimited('retention.bytes'),
    segmentBytes: Number(value('segment.bytes')),
    segmentMs: Number(value('segment.ms')),
    deleteRetentionMs: Number(value('delete.retention.ms')),
    maxBatchBytes: Number(value('max.message.bytes')),
    logAppendTime: value('message.timestamp.type') === 'LogAppendTime',
  };
}
