import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { closestName } from './closest-name.js';
import { JsonFile } from './json-file.js';

const parse = (text: string) => new JsonFile(text, 'a/x.json', 'PIPELINE_INVALID');
const schema = z.strictObject({
  name: z.string(),
  inputs: z.record(z.string(), z.string()).optional(),
  sample: z.strictObject({ events: z.string(), rows: z.number().optional() }).optional(),
  list: z.array(z.strictObject({ a: z.number() })).optional(),
});

/** The message of the error that a check of the text throws. */
function refusal(text: string): string {
  try {
    parse(text).check(schema);
  } catch (error) {
    expect(error).toMatchObject({ code: 'PIPELINE_INVALID' });
    return (error as Error).message;
  }
  throw new Error('the text was accepted');
}

describe('JsonFile', () => {
  it('gives the value', () => {
    expect(parse('{"name": "a"}').check(schema)).toEqual({ name: 'a' });
  });

  it.each([
    ['a value is missing', '{\n  "name":\n}', 3],
    ['a comma is missing', '{\n  "name": "a"\n  "inputs": {}\n}', 3],
    ['a comma is too many', '{\n  "name": "a",\n}\n', 3],
    ['it ends too early', '{\n  "name": {\n', 3],
    ['a text does not end', '{\n  "name": "a\n}', 2],
    ['a comment is not JSON', '{\n  // the name\n  "name": "a"\n}', 2],
    ['YAML is not JSON', 'name: a\n', 1],
    ['there is more than one value', '{}\n{}', 2],
    ['it is empty', '', 1],
    ['a bare word is no value', '{\n\n  "name": abc\n}', 3],
  ])('says the line where %s', (_, text, line) => {
    expect(() => parse(text)).toThrow(new RegExp(`^a/x\\.json:${line}: not JSON: `));
  });

  it('names line and member of what does not fit, however deep', () => {
    expect(refusal('{\n  "name": 7\n}')).toMatch(/^a\/x\.json:2: name: .*string/);
    expect(refusal('{\n"name": "a", "list": [\n{"a": 1},\n{"a": "b"}]}')).toMatch(
      /^a\/x\.json:4: list\.1\.a: /,
    );
    expect(refusal('{\n"name": "a",\n"inputs": {\n  "x.y": 1}}')).toMatch(/^a\/x\.json:4: inputs\.x\.y: /);
  });

  it('names the line of what lacks a member', () => {
    expect(refusal('\n{"list": [\n {}]}')).toMatch(/^a\/x\.json:2: name: .*\na\/x\.json:3: list\.0\.a: /);
  });

  it('says which member is meant', () => {
    expect(refusal('{"name": "a",\n"input": {}}')).toBe(
      'a/x.json:2: input: there is no such member. Did you mean inputs?',
    );
    expect(refusal('{"name": "a",\n"sample": {"events": "e",\n"row": 1}}')).toBe(
      'a/x.json:3: sample.row: there is no such member. Did you mean rows?',
    );
    expect(refusal('{"name": "a",\n"quite_different": {}}')).toBe(
      'a/x.json:2: quite_different: there is no such member. There are: name, inputs, sample, list.',
    );
  });
});

describe('closestName', () => {
  it.each([
    ['agee', 'age'],
    ['custmoer', 'customer'],
    ['AGE', 'age'],
    ['customer.agee', 'customer.age'],
    ['zip', undefined],
    ['', undefined],
  ])('of %s is %s', (mistyped, expected) => {
    expect(closestName(mistyped, ['customer', 'age', 'customer.age'])).toBe(expected);
  });
});
