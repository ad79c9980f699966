/** DescribeConfigs' type numbers. */
export const configType = { boolean: 1, string: 2, int: 3, long: 5, double: 6, list: 7 } as const;

export type ConfigType = keyof typeof configType;

interface ConfigDefinition {
  type: ConfigType;
  default: string;
  /** Returns why a value is refused, or `undefined` when it is valid. */
  check(value: string): string | undefined;
  documentation: string;
  /** It has no effect here. */
  ignored?: true;
}

const largest = { int: 2n ** 31n - 1n, long: 2n ** 63n - 1n };
const between = (least: number, most: bigint) => (value: string) =>
  /^-?\d{1,19}$/.test(value) && BigInt(value) >= least && BigInt(value) <= most
    ? undefined
    : `must be a whole number from ${least} to ${most}`;
const int = (least: number) => between(least, largest.int);
const long = (least: number) => between(least, largest.long);
const oneOf =
  (...allowed: string[]) =>
  (value: string) =>
    allowed.includes(value) ? undefined : `must be one of ${allowed.join(', ')}`;

const ratio: ConfigDefinition['check'] = (value) =>
  /^(0(\.\d+)?|1(\.0+)?)$/.test(value) ? undefined : 'must be a number from 0 to 1';

function setting(type: ConfigType, defaultValue: string, check: ConfigDefinition['check']): ConfigDefinition {
  return {
    type,
    default: defaultValue,
    check,
    documentation: 'Has no effect on this broker.',
    ignored: true,
  };
}

/**
 * The topic settings that this broker supports, with Kafka's names, units and (except for the segment size)
 * defaults.
 */
const honoured: Readonly<Record<string, ConfigDefinition>> = {
  'cleanup.policy': {
    type: 'list',
    default: 'delete',
    check: oneOf('delete', 'compact', 'compact,delete', 'delete,compact'),
    documentation: 'Drop old segments (delete), keep the newest record of each key (compact), or both.',
  },
  'retention.ms': {
    type: 'long',
    default: String(7 * 24 * 3600 * 1000),
    check: long(-1),
    documentation: 'Segments whose newest record is older are dropped. -1 keeps them.',
  },
  'retention.bytes': {
    type: 'long',
    default: '-1',
    check: long(-1),
    documentation: 'The oldest segments are dropped while a partition is larger. -1 keeps them.',
  },
  'segment.bytes': {
    type: 'int',
    default: String(128 * 1024 * 1024),
    check: int(1024),
    documentation: 'A segment file is closed before it grows beyond this.',
  },
  'segment.ms': {
    type: 'long',
    default: String(7 * 24 * 3600 * 1000),
    check: long(1),
    documentation: 'A segment is closed when its first record is older than this.',
  },
  'delete.retention.ms': {
    type: 'long',
    default: String(24 * 3600 * 1000),
    check: long(0),
    documentation: 'How long compaction keeps a tombstone, so that readers see the deletion.',
  },
  'max.message.bytes': {
    type: 'int',
    default: '1048588',
    check: int(0),
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
    // Kafka says "uncompressed", Redpanda "none".
    check: oneOf('producer', 'uncompressed', 'none', 'gzip', 'snappy', 'lz4', 'zstd'),
    documentation:
      'Batches are kept as the producer compressed them: another value has no effect on this broker.',
    ignored: true,
  },
  'min.insync.replicas': {
    type: 'int',
    default: '1',
    check: oneOf('1'),
    documentation: 'One node has one replica.',
  },
};

/**
 * Settings of Kafka that have no effect here: they are about when to flush (an answer always waits for the
 * disk), about indexes (kept in memory), or about replicas (there is one). They are checked, kept and
 * described, so that a topic can be created as in production.
 */
const meaningless: Readonly<Record<string, ConfigDefinition>> = {
  'compression.gzip.level': setting('int', '-1', between(-1, 9n)),
  'compression.lz4.level': setting('int', '9', between(1, 17n)),
  'compression.zstd.level': setting('int', '3', between(-131072, 22n)),
  'file.delete.delay.ms': setting('long', '60000', long(0)),
  'flush.messages': setting('long', String(largest.long), long(1)),
  'flush.ms': setting('long', String(largest.long), long(0)),
  'follower.replication.throttled.replicas': setting('list', '', () => undefined),
  'index.interval.bytes': setting('int', '4096', int(0)),
  'leader.replication.throttled.replicas': setting('list', '', () => undefined),
  'min.cleanable.dirty.ratio': setting('double', '0.5', ratio),
  preallocate: setting('boolean', 'false', oneOf('true', 'false')),
  'segment.index.bytes': setting('int', String(10 * 1024 * 1024), int(4)),
  'segment.jitter.ms': setting('long', '0', long(0)),
  'unclean.leader.election.enable': setting('boolean', 'false', oneOf('true', 'false')),
};

/** All accepted topic settings. Any other name is refused: it may be one that matters. */
export const topicConfigs: Readonly<Record<string, ConfigDefinition>> = { ...honoured, ...meaningless };

export type ConfigValues = Readonly<Record<string, string>>;

/** The settings in the form of the log. */
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

/** Returns the names of settings with values that this broker does not support. */
export function ignoredSettings(values: ConfigValues): string[] {
  return Object.keys(values).filter((name) => {
    const definition = topicConfigs[name];
    return definition?.ignored === true && values[name] !== definition.default;
  });
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
