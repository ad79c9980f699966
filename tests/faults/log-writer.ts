import type { Type } from 'avsc';
import { silentLogger } from '../../platform/logger.js';
import { avroType, loadContract } from '../../schemas/contracts.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord } from '../../streams/records.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import type { SentEvent } from './ledger.js';
import { pipelineNames } from './samples.js';

/** How an event's record is corrupted, and the resulting reason of the dead letter. */
export const spoiltRecords = {
  garbage: 'UNDECODABLE',
  'cut off': 'UNDECODABLE',
  'no value': 'UNDECODABLE',
  'unknown schema': 'SCHEMA_UNKNOWN',
  'out of range': 'EVENT_INVALID',
} as const;
export type Spoilt = keyof typeof spoiltRecords;

interface Writer {
  schemaId: number;
  type: Type;
  /** Fields of newer schemas, which readers don't know yet. */
  notes: Record<string, null>;
}

/** Writes events to the log as a program would that knows only Millrace's contracts. */
export class LogWriter {
  readonly streams: Streams;
  readonly serde: Serde;
  readonly #writers = new Map<string, Writer>();

  private constructor(streams: Streams, serde: Serde) {
    this.streams = streams;
    this.serde = serde;
  }

  static async open({
    kafka,
    schema_registry: url,
  }: {
    kafka: string[];
    schema_registry: string;
  }): Promise<LogWriter> {
    const streams = createStreams({ brokers: kafka, clientId: 'faults', logger: silentLogger });
    const writer = new LogWriter(streams, new Serde(new SchemaRegistryClient({ url })));
    for (const pipeline of pipelineNames) await writer.useNewSchema(pipeline, 0);
    return writer;
  }

  producer(): Promise<LogProducer> {
    return this.streams.createProducer();
  }

  /**
   * Continues with a schema that has one more field: scorers get an id that they must look up in the
   * registry.
   */
  async useNewSchema(pipeline: string, version: number): Promise<void> {
    const { schema } = loadContract(pipeline, 'event');
    const names = Array.from({ length: version }, (_, index) => `note_${index + 1}`);
    const fields = names.map((name) => ({ name, type: ['null', 'string'], default: null }));
    const type = avroType({ ...schema, fields: [...schema.fields, ...fields] } as Parameters<
      typeof avroType
    >[0]);
    const schemaId = await this.serde.register(`${pipeline}.events`, type);
    const notes = Object.fromEntries(names.map((name) => [name, null]));
    this.#writers.set(pipeline, { schemaId, type, notes });
  }

  record({ id, pipeline, key, fields }: Omit<SentEvent, 'accepted'>, spoilt?: Spoilt): NewRecord {
    const writer = this.#writers.get(pipeline);
    if (writer === undefined) throw new Error(`there is no pipeline ${pipeline}`);
    const value = this.serde.encode(writer.schemaId, writer.type, { ...fields, ...writer.notes });
    return {
      topic: `${pipeline}.events`,
      key,
      value: spoilt === undefined ? value : spoil(value, spoilt),
      headers: { ce_id: id, ce_source: 'faults', ce_type: 'faults', ce_specversion: '1.0' },
    };
  }
}

function spoil(value: Buffer, spoilt: Spoilt): Buffer | null {
  switch (spoilt) {
    case 'garbage':
      return Buffer.from('neither Avro nor anything else');
    case 'cut off':
      return value.subarray(0, value.length - 3);
    case 'no value':
      return null;
    case 'unknown schema': {
      const other = Buffer.from(value);
      other.writeInt32BE(999_999, 1);
      return other;
    }
    case 'out of range':
    default:
      return value;
  }
}
