import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from '../platform/errors.js';
import { type RecordSchema, loadContract, schemasFolder } from './contracts.js';
import { type EventField, eventShape, type FieldType, type RecordShape } from './field-types.js';

/**
 * TypeScript interfaces for the newest version of every contract, as the text of `schemas/types.ts`: the
 * contracts are the only place where a field is written down. `millrace generate` writes the file; a test
 * checks that it is current.
 *
 * @param root - the folder of the contracts, one folder each inside it.
 * @throws MillraceError `CONTRACT_INVALID` that names every contract without types, and why.
 */
export function generateTypes(root: string = schemasFolder): string {
  const problems: string[] = [];
  const records = contractNames(root).flatMap(({ folder, name }) => {
    try {
      const { schema } = loadContract(folder, name, root);
      return [{ folder, schema, shape: eventShape(schema) }];
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      problems.push(error.message);
      return [];
    }
  });
  if (problems.length > 0) throw new MillraceError('CONTRACT_INVALID', problems.join('\n'));
  if (records.length === 0)
    throw new MillraceError(
      'CONTRACT_INVALID',
      `There is no contract in ${root}. Add one, such as schemas/my-pipeline/event.v1.avsc.`,
    );
  const heading =
    '// Made by `millrace generate` from the Avro contracts in this folder. Change those instead.';
  return `${[heading, ...new Interfaces(records).texts].join('\n\n')}\n`;
}

interface NamedContract {
  folder: string;
  schema: RecordSchema;
  shape: RecordShape;
}

/** One interface for each record, also for those inside of others. */
class Interfaces {
  /** In the order of the contracts, a record before those inside it. */
  readonly texts: string[] = [];
  readonly #names = new Map<RecordShape, string>();
  readonly #taken = new Map<string, RecordShape>();

  constructor(contracts: readonly NamedContract[]) {
    // Contracts have their names before records inside them can take those.
    for (const { folder, shape } of contracts) {
      const alone = contracts.filter((each) => each.shape.name === shape.name).length === 1;
      this.#name(shape, alone ? '' : pascal(folder));
    }
    for (const { shape } of contracts) this.#write(shape);
  }

  #write(shape: RecordShape): void {
    const index = this.texts.push('') - 1;
    const name = this.#names.get(shape) ?? shape.name;
    this.texts[index] = [
      ...comment(shape.doc, ''),
      `export interface ${name} {`,
      ...shape.fields.flatMap((field) => this.#field(field, name)),
      '}',
    ].join('\n');
  }

  #field({ name, doc, type }: EventField, owner: string): string[] {
    return [...comment(doc, '  '), `  ${name}: ${this.#type(type, owner)};`];
  }

  #type(type: FieldType, owner: string): string {
    const text = this.#plain(type, owner);
    return type.nullable ? `${text} | null` : text;
  }

  #plain(type: FieldType, owner: string): string {
    switch (type.kind) {
      case 'boolean':
        return type.kind;
      case 'string':
      case 'uuid':
        return 'string';
      case 'enum':
        return type.symbols.map((symbol) => `'${symbol}'`).join(' | ');
      case 'array': {
        const items = this.#type(type.items, owner);
        return items.includes(' ') ? `(${items})[]` : `${items}[]`;
      }
      case 'map':
        return `{ [key: string]: ${this.#type(type.values, owner)} }`;
      case 'record':
        return this.#nested(type, owner);
      case 'int':
      case 'long':
      case 'float':
      case 'double':
        break;
    }
    return 'number';
  }

  /** Records with the same name and the same fields are one interface. */
  #nested(type: RecordShape, owner: string): string {
    const known = [...this.#taken].find(([, shape]) => isSame(shape, type));
    if (known !== undefined) return known[0];
    const name = this.#name(type, this.#taken.has(pascal(type.name)) ? owner : '');
    this.#write(type);
    return name;
  }

  #name(shape: RecordShape, prefix: string): string {
    let name = `${prefix}${pascal(shape.name)}`;
    for (let number = 2; this.#taken.has(name); number++) name = `${prefix}${pascal(shape.name)}${number}`;
    this.#names.set(shape, name);
    this.#taken.set(name, shape);
    return name;
  }
}

function isSame(a: RecordShape, b: RecordShape): boolean {
  const fieldsOf = ({ name, doc, fields }: RecordShape): string => JSON.stringify([name, doc, fields]);
  return fieldsOf(a) === fieldsOf(b);
}

/** Also makes a name that no keyword of TypeScript has. */
function pascal(name: string): string {
  return name
    .split('-')
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('');
}

function comment(doc: string, indent: string): string[] {
  const lines = doc
    .trim()
    .replaceAll('*/', '*\u200b/')
    .split(/\s*\n\s*/);
  if (doc.trim() === '') return [];
  if (lines.length === 1) return [`${indent}/** ${lines[0]} */`];
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`];
}

/** Returns the contracts of a folder: one folder each, with `<name>.v<N>.avsc` inside. */
export function contractNames(root: string): { folder: string; name: string }[] {
  const folders = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return folders
    .flatMap(({ name: folder }) => {
      const names = readdirSync(join(root, folder)).flatMap(
        (file) => /^(.+)\.v\d+\.avsc$/.exec(file)?.[1] ?? [],
      );
      return [...new Set(names)].map((name) => ({ folder, name }));
    })
    .toSorted((a, b) => `${a.folder}/${a.name}`.localeCompare(`${b.folder}/${b.name}`));
}
