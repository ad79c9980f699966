import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { avroType, loadContract, loadContractVersions, schemasFolder } from './contracts.js';
import { generateTypes } from './generate-types.js';

const contracts = readdirSync(schemasFolder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name: folder }) =>
    readdirSync(join(schemasFolder, folder)).flatMap((file) => {
      const name = /^(.+)\.v1\.avsc$/.exec(file)?.[1];
      return name === undefined ? [] : [{ folder, name }];
    }),
  );

describe('contracts', () => {
  it.each(contracts)(
    '$folder/$name: each version reads all before it (BACKWARD_TRANSITIVE)',
    ({ folder, name }) => {
      const versions = loadContractVersions(folder, name);
      expect(versions.map((contract) => contract.version)).toEqual(versions.map((_, index) => index + 1));
      for (const newer of versions) {
        for (const older of versions.slice(0, newer.version))
          expect(() => newer.type.createResolver(older.type)).not.toThrow();
      }
    },
  );

  it.each(contracts)('$folder/$name: the record and every field say what they mean', ({ folder, name }) => {
    const { schema } = loadContract(folder, name);
    expect(schema.doc).toBeTruthy();
    for (const field of schema.fields) expect(field.doc, field.name).toBeTruthy();
  });

  it('types.ts is what `npm run generate` makes of the contracts', () => {
    expect(readFileSync(join(schemasFolder, 'types.ts'), 'utf8')).toBe(generateTypes());
  });

  it('says which file is missing', () => {
    expect(() => loadContract('no-such-pipeline', 'event')).toThrow(/no-such-pipeline/);
    expect(() => loadContract('shared', 'no-such-record')).toThrow(/no-such-record\.v1\.avsc/);
  });

  it('reads a nullable field as a plain value', () => {
    const type = avroType({
      type: 'record',
      name: 'R',
      fields: [{ name: 'a', type: ['null', 'string'], default: null }],
    });
    expect({ ...(type.fromBuffer(type.toBuffer({ a: 'x' })) as object) }).toEqual({ a: 'x' });
  });
});
