import avro from 'avsc';
import type { Schema, Type } from 'avsc';
import { LRUCache } from 'lru-cache';
import { MillraceError, messageOf } from '../platform/errors.js';
import { createGuard } from './avro-guard.js';
import { createResolution } from './avro-resolution.js';
import { plainValue } from './plain-json.js';
import type { SchemaRegistryClient } from './schema-registry.js';

/** Confluent wire format: one zero byte, the schema's id (4 bytes, big-endian), then the Avro encoding. */
export const wireHeaderBytes = 5;
const slabBytes = 64 * 1024;
const unknownTtlMs = 10_000;
/** Maximum number of cached schemas: more at one time are a mistake or an attack. */
const maxSchemas = 1_000;
/**
 * Maximum characters of a schema; avsc compiles each record type, and this size takes some tenths of a
 * second.
 */
const maxSchemaLength = 256 * 1024;

/**
 * Returns the id of the schema that a record value was written with; `undefined` when it is not in wire
 * format.
 */
export function schemaIdOf(value: Buffer | null): number | undefined {
  return value && value.length >= wireHeaderBytes && value[0] === 0 ? value.readInt32BE(1) : undefined;
}

type Decode = (bytes: Buffer) => unknown;

/** Per writer id, everything that can be prepared before a record is read. */
interface Reader {
  decoders: Map<number, Decode>;
  fetching: Map<number, Promise<Decode>>;
  /** Ids of the reader's own schema. */
  own: Set<number>;
}

/** Avro values in Confluent wire format, with schemas from a registry. */
export class Serde {
  readonly #registry: SchemaRegistryClient;
  readonly #readers = new WeakMap<Type, Reader>();
  readonly #unknown = new LRUCache<number, true>({ max: 10_000, ttl: unknownTtlMs });
  #slab = Buffer.allocUnsafe(slabBytes);
  #slabUsed = 0;

  constructor(registry: SchemaRegistryClient) {
    this.#registry = registry;
  }

  /**
   * Registers a type for the values of a topic, under the subject `<topic>-value`, and returns its id.
   *
   * @throws MillraceError `SCHEMA_INCOMPATIBLE`, `SCHEMA_INVALID`, or `REGISTRY_UNAVAILABLE` (retriable).
   */
  async register(topic: string, type: Type): Promise<number> {
    const schema = JSON.stringify(type.schema({ exportAttrs: true }));
    const id = await this.#registry.register(`${topic}-value`, schema);
    // Written and read with the same schema: no resolution.
    this.#remember(type, id, decoder(type, type, id));
    this.#reader(type).own.add(id);
    return id;
  }

  /**
   * Makes the registry check later schemas of a topic's values against all earlier ones: each version can be
   * read as every other. See `SchemaRegistryClient.keepLevel`.
   */
  keepReadable(topic: string): ReturnType<SchemaRegistryClient['keepLevel']> {
    return this.#registry.keepLevel(`${topic}-value`, 'FULL_TRANSITIVE');
  }

  /** Encodes a value. @throws MillraceError `UNENCODABLE` when the value is not one of the type. */
  encode(id: number, type: Type, value: unknown): Buffer {
    try {
      return this.#write(id, type, value);
    } catch (error) {
      throw new MillraceError(
        'UNENCODABLE',
        `The value does not fit the schema ${type.name ?? id}: ${messageOf(error)}.`,
        {
          cause: error,
        },
      );
    }
  }

  /**
   * Encodes directly into a slab that following values share, so that a value needs no copy and no
   * allocation.
   */
  #write(id: number, type: Type, value: unknown): Buffer {
    const start = this.#slabUsed;
    if (start + wireHeaderBytes <= this.#slab.length) {
      const end = type.encode(value, this.#slab, start + wireHeaderBytes);
      if (end >= 0) {
        this.#slab[start] = 0;
        this.#slab.writeInt32BE(id, start + 1);
        this.#slabUsed = end;
        return this.#slab.subarray(start, end);
      }
      // A negative answer is the number of missing bytes.
      if (wireHeaderBytes - end + (this.#slab.length - start) > slabBytes / 4) {
        const body = type.toBuffer(value);
        const whole = Buffer.allocUnsafe(wireHeaderBytes + body.length);
        whole[0] = 0;
        whole.writeInt32BE(id, 1);
        body.copy(whole, wireHeaderBytes);
        return whole;
      }
    }
    this.#slab = Buffer.allocUnsafe(slabBytes);
    this.#slabUsed = 0;
    return this.#write(id, type, value);
  }

  /**
   * Decodes a record's value in the reader's schema, whatever version it was written with. Returns
   * synchronously when the writer's schema is cached, else a promise.
   *
   * @throws MillraceError (thrown, or by the promise): `UNDECODABLE` (no wire format, garbage, truncated,
   *   trailing bytes, longs beyond 2^53), `SCHEMA_UNKNOWN`, `SCHEMA_INCOMPATIBLE`; retriable:
   *   `REGISTRY_UNAVAILABLE`.
   */
  decode(bytes: Buffer | null, reader: Type): unknown {
    const id = schemaIdOf(bytes);
    if (bytes === null || id === undefined) throw notInWireFormat(bytes);
    const decode = this.#readers.get(reader)?.decoders.get(id);
    if (decode) return decode(bytes);
    if (this.#unknown.has(id)) throw unknownSchema(id);
    return this.#fetch(reader, id).then((fetched) => fetched(bytes));
  }

  /**
   * Returns whether a record's value was written with the reader's own schema: then all after its header is
   * the reader's encoding, unless it is damaged. Synchronously when the writer's schema is cached, as
   * {@link decode}.
   */
  isOwn(bytes: Buffer, reader: Type): boolean | Promise<boolean> {
    const id = schemaIdOf(bytes);
    if (id === undefined || this.#unknown.has(id)) return false;
    const { own, decoders } = this.#reader(reader);
    if (decoders.has(id)) return own.has(id);
    return this.#fetch(reader, id).then(
      () => own.has(id),
      () => false,
    );
  }

  /**
   * Returns a record's value in its writer's schema, as JSON that clients can send, for people.
   *
   * @throws MillraceError as {@link decode}.
   */
  async toJson(bytes: Buffer): Promise<string> {
    const id = schemaIdOf(bytes);
    if (id === undefined) throw notInWireFormat(bytes);
    const { schema, schemaType } = await this.#registry.schema(id);
    const writer = parseWriter(schema, schemaType, id);
    return JSON.stringify(plainValue(writer, decoder(writer, writer, id)(bytes)));
  }

  #fetch(reader: Type, id: number): Promise<Decode> {
    const { fetching } = this.#reader(reader);
    const underWay = fetching.get(id);
    if (underWay) return underWay;
    const started = this.#makeDecoder(reader, id).finally(() => fetching.delete(id));
    fetching.set(id, started);
    return started;
  }

  async #makeDecoder(reader: Type, id: number): Promise<Decode> {
    try {
      const { schema, schemaType } = await this.#registry.schema(id);
      const writer = parseWriter(schema, schemaType, id);
      const decode = decoder(reader, writer, id);
      this.#remember(reader, id, decode);
      if (writer.equals(reader)) this.#reader(reader).own.add(id);
      return decode;
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'SCHEMA_UNKNOWN') {
        this.#unknown.set(id, true);
        throw unknownSchema(id);
      }
      // An id always keeps its schema: every further record of it fails at once.
      if (error instanceof MillraceError && error.code === 'SCHEMA_INCOMPATIBLE')
        this.#remember(reader, id, () => {
          throw error;
        });
      throw error;
    }
  }

  #remember(reader: Type, id: number, decode: Decode): void {
    const { decoders } = this.#reader(reader);
    if (decoders.size >= maxSchemas) decoders.clear();
    decoders.set(id, decode);
    this.#unknown.delete(id);
  }

  #reader(type: Type): Reader {
    let reader = this.#readers.get(type);
    if (!reader) {
      reader = { decoders: new Map(), fetching: new Map(), own: new Set() };
      this.#readers.set(type, reader);
    }
    return reader;
  }
}

function parseWriter(schema: string, schemaType: string, id: number): Type {
  if (schemaType !== 'AVRO')
    throw new MillraceError('SCHEMA_INCOMPATIBLE', `Schema ${id} is ${schemaType}; only Avro is read here.`);
  if (schema.length > maxSchemaLength)
    throw new MillraceError(
      'SCHEMA_INCOMPATIBLE',
      `Schema ${id} has ${schema.length} characters; up to ${maxSchemaLength} are read here.`,
    );
  try {
    // A writer's defaults are never used, and avsc would fill in each for every type around it: nearly
    // without end when types repeat. Wrapped unions accept any schema; only the reader determines the form of
    // a value.
    const parsed: unknown = JSON.parse(schema, (key, value: unknown) =>
      key === 'default' ? undefined : value,
    );
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- avsc checks it
    return avro.Type.forSchema(parsed as Schema, { wrapUnions: 'always' });
  } catch (error) {
    throw new MillraceError(
      'SCHEMA_INCOMPATIBLE',
      `Schema ${id} is not a usable Avro schema: ${problemOf(error)}.`,
      {
        cause: error,
      },
    );
  }
}

function decoder(reader: Type, writer: Type, id: number): Decode {
  try {
    const guard = createGuard(writer);
    const resolve = createResolution(reader, writer);
    const quick = quickDecoder(reader, writer);
    return (bytes) => {
      try {
        guard?.(bytes, wireHeaderBytes);
        return quick?.(bytes) ?? resolve(bytes, wireHeaderBytes);
      } catch (error) {
        throw new MillraceError(
          'UNDECODABLE',
          `The value is not what schema ${id} says: ${problemOf(error)}.`,
          { cause: error },
        );
      }
    };
  } catch (error) {
    throw new MillraceError(
      'SCHEMA_INCOMPATIBLE',
      `Values of schema ${id} can't be read as ${reader.name ?? 'the reader'}: ${problemOf(error)}.`,
      { cause: error },
    );
  }
}

/**
 * Returns avsc's own compiled decoder, which takes a tenth of the time. @returns undefined if avsc refuses
 * the schema, since it requires every branch of a writer's union to fit; the decoder returns undefined for an
 * unreadable value.
 */
function quickDecoder(reader: Type, writer: Type): Decode | undefined {
  try {
    const resolver =
      writer === reader ? undefined : reader.createResolver(writer, { ignoreNamespaces: true });
    return (bytes) => {
      try {
        const { value, offset } = reader.decode(bytes, wireHeaderBytes, resolver);
        return offset === bytes.length ? (value as unknown) : undefined;
      } catch {
        // The resolution reports the error and its field.
        return undefined;
      }
    };
  } catch {
    return undefined;
  }
}

/** A RangeError here is always an exhausted stack. */
function problemOf(error: unknown): string {
  return error instanceof RangeError ? 'it is nested too deep' : messageOf(error);
}

function notInWireFormat(bytes: Buffer | null): MillraceError {
  const start = bytes?.subarray(0, wireHeaderBytes).toString('hex');
  const what =
    bytes === null
      ? 'it is null'
      : bytes.length === 0
        ? 'it is empty'
        : `it has ${bytes.length} bytes and starts with ${start}`;
  return new MillraceError(
    'UNDECODABLE',
    `The value is not in Confluent wire format: ${what}. It begins with a zero byte and the schema's id in 4 bytes; ${notRead}`,
  );
}

const notRead = 'an id of 8 bytes, or one in a header, is not read here.';

function unknownSchema(id: number): MillraceError {
  const hint = id === 0 ? ` Ids begin at 1; ${notRead}` : '';
  return new MillraceError('SCHEMA_UNKNOWN', `The schema registry has no schema with id ${id}.${hint}`);
}
