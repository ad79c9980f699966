import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import avro from 'avsc';
import { MillraceError, messageOf } from '../platform/errors.js';
import { packageRoot } from '../platform/paths.js';

/**
 * Limits of values, named as in JSON Schema; Avro leaves such attributes alone (specification 1.12, "Schema
 * Declaration": other attributes are permitted as metadata). They stand on a field or on a type, which comes
 * first. Those of an array or a map count for its items or values too.
 */
export interface Limits {
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  /** Minimum number of entries of a map. */
  minProperties?: number;
  /** Maximum number of entries of a map. */
  maxProperties?: number;
}

/** An Avro type as written in a schema file. */
export type AvroType = string | AvroType[] | AvroObject;

/** An Avro type with attributes. */
export interface AvroObject extends Limits {
  type: AvroType;
  logicalType?: string;
  /** Of a record, an enum or a fixed. */
  name?: string;
  namespace?: string;
  doc?: string;
  symbols?: string[];
  fields?: ContractField[];
  items?: AvroType;
  values?: AvroType;
  size?: number;
}

/** A field of a contract, with Avro's attributes and limits of its values. */
export interface ContractField extends Limits {
  name: string;
  type: AvroType;
  doc?: string;
  default?: unknown;
}

export interface RecordSchema {
  type: 'record';
  name: string;
  namespace?: string;
  doc?: string;
  fields: ContractField[];
}

/** One version of a contract. */
export interface Contract {
  /** 1, 2, …: from the file's name. */
  version: number;
  schema: RecordSchema;
  type: avro.Type;
}

export const schemasFolder = join(packageRoot, 'schemas');

/**
 * Loads every version of a contract, oldest first, from `schemas/<folder>/<name>.v<N>.avsc`.
 *
 * @throws MillraceError `CONTRACT_INVALID` when there is none, or one is not a valid Avro record.
 */
export function loadContractVersions(folder: string, name: string, root: string = schemasFolder): Contract[] {
  const pattern = new RegExp(`^${name}\\.v(\\d+)\\.avsc$`);
  const versions = listFiles(join(root, folder))
    .flatMap((file) => {
      const version = pattern.exec(file)?.[1];
      return version === undefined ? [] : [readContract(join(root, folder, file), Number(version))];
    })
    .toSorted((a, b) => a.version - b.version);
  if (versions.length === 0) {
    throw new MillraceError(
      'CONTRACT_INVALID',
      `No contract ${name}.v1.avsc in ${join(root, folder)}. Add one.`,
    );
  }
  return versions;
}

/** Loads the newest version of a contract: see {@link loadContractVersions}. */
export function loadContract(folder: string, name: string, root: string = schemasFolder): Contract {
  const newest = loadContractVersions(folder, name, root).at(-1);
  if (newest === undefined) throw new Error('unreachable: an empty list of versions is refused above');
  return newest;
}

/**
 * Compiles a schema the one way Millrace reads Avro: a nullable field is a plain value, and a decoded record
 * has its fields and nothing else (avsc otherwise adds methods, which a strict validator takes for unknown
 * fields).
 */
export function avroType(schema: avro.Schema): avro.Type {
  return avro.Type.forSchema(schema, { wrapUnions: 'never', omitRecordMethods: true });
}

const files = new WeakMap<RecordSchema, string>();

/** Returns the file that a contract was loaded from, for errors. */
export function contractFile(schema: RecordSchema): string | undefined {
  return files.get(schema);
}

function readContract(file: string, version: number): Contract {
  try {
    const schema = JSON.parse(readFileSync(file, 'utf8')) as RecordSchema;
    const type = avroType(schema as avro.Schema);
    // oxlint-disable-next-line typescript/no-unnecessary-condition -- what a file has is not known
    if (schema.type !== 'record') throw new Error('it is no record');
    files.set(schema, file);
    return { version, schema, type };
  } catch (error) {
    throw new MillraceError(
      'CONTRACT_INVALID',
      `${file} is no valid Avro schema: ${messageOf(error)}. Mend the file.`,
      {
        cause: error,
      },
    );
  }
}

function listFiles(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    throw new MillraceError('CONTRACT_INVALID', `Cannot read ${folder}: ${messageOf(error)}.`, {
      cause: error,
    });
  }
}
