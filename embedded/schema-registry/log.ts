import { z } from 'zod';
import { canonicalText, compatibilityLevels } from './avro.js';

export interface LogRecord {
  key: Buffer | null;
  value: Buffer | null;
}

/** Storage of the registry's state: a compacted log. */
export interface RegistryLog {
  /** Resolves when the records are durable, all of them or none. */
  append(records: { key: Buffer; value: Buffer | null }[]): Promise<void>;
  /**
   * Reads all records from the beginning to the end at the time of the call, in order.
   *
   * @param later - called with later records of any writer, if the log is shared with other processes. It
   *   gets each of this process's own appends before the next.
   */
  read(later: (record: LogRecord) => void): AsyncIterable<LogRecord>;
}

export const modes = ['READWRITE', 'READONLY', 'READONLY_OVERRIDE', 'IMPORT'] as const;
export type Mode = (typeof modes)[number];

// Keys and values are those of Confluent's registry, so that its tools can read the topic. A subject of null
// means all of them. HIGHEST_ID is ours: without it, compaction after a permanent delete would allow an id to
// be assigned again, and old messages would be read with another schema.
const keySchema = z.discriminatedUnion('keytype', [
  z.object({
    keytype: z.literal('SCHEMA'),
    subject: z.string(),
    version: z.int().positive(),
    magic: z.number().default(1),
  }),
  z.object({ keytype: z.literal('CONFIG'), subject: z.string().nullish(), magic: z.number().default(0) }),
  z.object({ keytype: z.literal('MODE'), subject: z.string().nullish(), magic: z.number().default(0) }),
  z.object({ keytype: z.literal('HIGHEST_ID'), magic: z.number().default(0) }),
]);

const schemaValue = z.object({
  subject: z.string(),
  version: z.int().positive(),
  id: z.int32().positive(),
  schema: z.string(),
  deleted: z.boolean().default(false),
});
const configValue = z.object({ compatibilityLevel: z.enum(compatibilityLevels) });
const modeValue = z.object({ mode: z.enum(modes) });
const highestIdValue = z.object({ id: z.int32().nonnegative() });

export type SchemaVersion = z.infer<typeof schemaValue>;

/** One change of the registry's state, as one record of the log. A value of `null` removes. */
export type Change =
  | { type: 'SCHEMA'; subject: string; version: number; value: SchemaVersion | null }
  | { type: 'CONFIG'; subject: string | null; value: z.infer<typeof configValue> | null }
  | { type: 'MODE'; subject: string | null; value: z.infer<typeof modeValue> | null }
  | { type: 'HIGHEST_ID'; value: z.infer<typeof highestIdValue> };

export function encodeChange(change: Change): { key: Buffer; value: Buffer | null } {
  const { type, value } = change;
  const magic = type === 'SCHEMA' ? 1 : 0;
  const position =
    type === 'HIGHEST_ID'
      ? {}
      : { subject: change.subject, ...(type === 'SCHEMA' ? { version: change.version } : {}) };
  return {
    key: Buffer.from(JSON.stringify({ keytype: type, ...position, magic })),
    value: value === null ? null : Buffer.from(JSON.stringify(value)),
  };
}

/** @throws when the record is not the registry's. */
export function decodeChange(record: { key: Buffer | null; value: Buffer | null }): Change {
  const key = keySchema.parse(JSON.parse(record.key?.toString() ?? 'null'));
  const value: unknown = JSON.parse(record.value?.toString() ?? 'null');
  if (key.keytype === 'HIGHEST_ID') return { type: key.keytype, value: highestIdValue.parse(value) };
  if (key.keytype === 'SCHEMA') {
    const { keytype: type, subject, version } = key;
    const schema = schemaValue.nullable().parse(value);
    if (schema !== null && (schema.subject !== subject || schema.version !== version))
      throw new Error(`it is of version ${schema.version} of ${schema.subject}, and its key of another`);
    // Nothing is compatible with an unparsable schema: its subject would accept no version any more.
    if (schema !== null) canonicalText(schema.schema);
    return { type, subject, version, value: schema };
  }
  const subject = key.subject ?? null;
  return key.keytype === 'CONFIG'
    ? { type: key.keytype, subject, value: configValue.nullable().parse(value) }
    : { type: key.keytype, subject, value: modeValue.nullable().parse(value) };
}
