import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { AvroType, ContractField } from './contracts.js';
import { generateTypes } from './generate-types.js';

const folder = mkdtempSync(join(tmpdir(), 'millrace-types-'));
afterAll(() => rmSync(folder, { recursive: true }));

let projects = 0;

/** Returns the types of contracts, each in its own folder, without the heading. */
function typesOf(
  contracts: Record<string, { name?: string; doc?: string; fields: ContractField[] }>,
): string {
  const root = join(folder, `project-${projects++}`);
  for (const [name, contract] of Object.entries(contracts)) {
    mkdirSync(join(root, name), { recursive: true });
    const schema = { type: 'record', name: 'Event', ...contract };
    writeFileSync(join(root, name, 'event.v1.avsc'), JSON.stringify(schema));
  }
  return generateTypes(root).split('\n').slice(2).join('\n');
}

const customer = (...fields: ContractField[]): AvroType => ({ type: 'record', name: 'customer', fields });
const age: ContractField = { name: 'age', type: 'int' };

it('writes an interface for each record, and arrays and maps of any type', () => {
  const types = typesOf({
    orders: {
      name: 'Order',
      doc: 'An order.\nNot */ the end.',
      fields: [
        { name: 'customer', type: ['null', customer({ ...age, doc: 'In years.' })], doc: 'Who.' },
        { name: 'payers', type: { type: 'array', items: 'customer' } },
        { name: 'notes', type: { type: 'array', items: ['null', 'string'] } },
        { name: 'tags', type: { type: 'map', values: { type: 'array', items: 'double' } } },
        { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } },
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
        { name: 'id', type: { type: 'string', logicalType: 'uuid' } },
      ],
    },
  });
  expect(types).toBe(`/**
 * An order.
 * Not *\u200b/ the end.
 */
export interface Order {
  /** Who. */
  customer: Customer | null;
  payers: Customer[];
  notes: (string | null)[];
  tags: { [key: string]: number[] };
  kind: 'A' | 'B';
  at: number;
  id: string;
}

export interface Customer {
  /** In years. */
  age: number;
}
`);
});

it('gives each of several records with one name its own interface, and equal ones the same', () => {
  const types = typesOf({
    'a-b': { fields: [{ name: 'x', type: customer(age) }] },
    c: { fields: [{ name: 'x', type: customer(age) }] },
    d: { name: 'Customer', fields: [{ name: 'x', type: customer({ name: 'age', type: 'string' }) }] },
  });
  const lines = types.split('\n').filter((line) => /interface|x:/.test(line));
  expect(lines.map((line) => line.trim())).toEqual([
    'export interface ABEvent {',
    'x: ABEventCustomer;',
    'export interface ABEventCustomer {',
    'export interface CEvent {',
    'x: ABEventCustomer;',
    'export interface Customer {',
    'x: CustomerCustomer;',
    'export interface CustomerCustomer {',
  ]);
});

it('refuses all contracts that it can’t express, each with its reason', () => {
  const make = (): string =>
    typesOf({
      a: { name: 'A', fields: [{ name: 'x', type: 'bytes' }] },
      b: { name: 'B', fields: [{ name: 'x', type: { type: 'array', items: ['int', 'string'] } }] },
      c: { name: 'C', fields: [{ name: 'x', type: 'int' }] },
    });
  expect(make).toThrow(
    /a.event\.v1\.avsc: A\.x has the Avro type "bytes"\..*\n.*b.event\.v1\.avsc: B\.x\[\] has the Avro type \["int","string"\]\./,
  );
  expect(() => typesOf({ a: { fields: [{ name: 'x', type: 'nothing' }] } })).toThrow(
    'event.v1.avsc is no valid',
  );
});
