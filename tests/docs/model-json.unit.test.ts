import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { goldenSchema, manifestSchema } from '../../models/manifest.js';
import { packageRoot } from '../../platform/paths.js';

const page = readFileSync(join(packageRoot, 'docs', 'models.md'), 'utf8');

test.each([
  ['model.json', manifestSchema],
  ['golden.json', goldenSchema],
])('the reference of %s names each of its members', (file, schema) => {
  const [, section = ''] = new RegExp(`^### ${file}\\n([^]*?)(?=^##)`, 'm').exec(page) ?? [];
  const members = membersOf(schema);
  expect(members.length).toBeGreaterThan(5);
  const isNamed = (member: string): boolean => {
    const last = member.split('.').at(-1) ?? '';
    const parent = member.split('.')[0] ?? '';
    return (
      section.includes(`\`${member}\``) ||
      section.split('\n').some((line) => line.includes(`\`${parent}`) && line.includes(`\`${last}\``))
    );
  };
  expect(members.filter((member) => !isNamed(member))).toEqual([]);
});

/** Paths of the members of an object, and of the objects in it and in its lists. */
function membersOf(schema: unknown): string[] {
  const inner = unwrapped(schema);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape).flatMap(([name, member]) => [
    name,
    ...membersOf(member).map((path) => `${name}.${path}`),
  ]);
}

function unwrapped(schema: unknown): unknown {
  if (schema instanceof z.ZodOptional) return unwrapped(schema.unwrap());
  return schema instanceof z.ZodArray ? unwrapped(schema.element) : schema;
}
