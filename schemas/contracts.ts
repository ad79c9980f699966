import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import avro from 'avsc';
import { MillraceError, messageOf } from '../platform/errors.js';
import { projectRoot } from '../platform/paths.js';

/** An Avro type as written in a schema file. */
export type AvroType =
  | string
  | AvroType[]
  | { type: 'enum'; name: string; symbols: string[] }
  | { type: string; logicalType?: string };

/**
 * A field of a contract. Beside Avro's own attributes it may carry limits, named as in JSON Schema; Avro leaves such
 * attributes alone (specification 1.12, "Schema Declaration": other attributes are permitted as metadata).
 */
export interface ContractField {
  name: string;
  type: AvroType;
  doc?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
}

export interface RecordSchema {
  type: 'record';
  name: string;
  namespace: string;
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

export const schemasFolder = join(projectRoot, 'schemas');

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
 * Compiles a schema the one way Millrace reads Avro: a nullable field is a plain value, and a decoded record has its
 * fields and nothing else (avsc otherwise adds methods, which a strict validator takes for unknown fields).
 */
export function avroType(schema: avro.Schema): avro.Type {
  return avro.Type.forSchema(schema, { wrapUnions: 'never', omitRecordMethods: true });
}

function readContract(file: string, version: number): Contract {
  try {
    const schema = JSON.parse(readFileSync(file, 'utf8')) as RecordSchema;
    return { version, schema, type: avroType(schema as avro.Schema) };
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
