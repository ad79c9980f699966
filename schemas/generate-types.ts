import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AvroType, loadContract, type RecordSchema, schemasFolder } from './contracts.js';

/**
 * TypeScript interfaces for the newest version of every contract, as the text of `schemas/types.ts`: the contracts are
 * the only place where a field is written down. `npm run generate` writes the file; a test checks that it is current.
 */
export function generateTypes(root: string = schemasFolder): string {
  const records = contractNames(root).map(({ folder, name }) =>
    interfaceOf(loadContract(folder, name, root).schema),
  );
  return (
    [
      '// Made by `npm run generate` from the Avro contracts in this folder. Change those instead.',
      ...records,
    ].join('\n\n') + '\n'
  );
}

/** Writes `schemas/types.ts`. */
function writeTypes(): void {
  writeFileSync(join(schemasFolder, 'types.ts'), generateTypes());
}

function contractNames(root: string): { folder: string; name: string }[] {
  const folders = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return folders
    .flatMap(({ name: folder }) =>
      [
        ...new Set(
          readdirSync(join(root, folder)).flatMap((file) => /^(.+)\.v\d+\.avsc$/.exec(file)?.[1] ?? []),
        ),
      ].map((name) => ({
        folder,
        name,
      })),
    )
    .toSorted((a, b) => `${a.folder}/${a.name}`.localeCompare(`${b.folder}/${b.name}`));
}

function interfaceOf(schema: RecordSchema): string {
  const fields = schema.fields.flatMap((field) => [
    ...(field.doc === undefined ? [] : [`  /** ${field.doc} */`]),
    `  ${field.name}: ${typeOf(field.type)};`,
  ]);
  return [
    ...(schema.doc === undefined ? [] : [`/** ${schema.doc} */`]),
    `export interface ${schema.name} {`,
    ...fields,
    '}',
  ].join('\n');
}

function typeOf(type: AvroType): string {
  if (Array.isArray(type)) return type.map(typeOf).toReversed().join(' | ');
  if (typeof type === 'object') {
    return type.symbols !== undefined
      ? type.symbols.map((symbol) => `'${symbol}'`).join(' | ')
      : typeOf(type.type);
  }
  if (['int', 'long', 'float', 'double'].includes(type)) return 'number';
  return type === 'bytes' ? 'Buffer' : type;
}

if (process.argv[1] === import.meta.filename) writeTypes();
