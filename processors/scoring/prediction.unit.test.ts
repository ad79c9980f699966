import { expect, it } from 'vitest';
import { eventSchema } from '../../schemas/event-schema.js';
import { isSameEvent } from './prediction.js';

const schema = eventSchema({
  type: 'record',
  name: 'E',
  namespace: 'n',
  fields: [
    { name: 'x', type: 'float' },
    { name: 'more', type: 'string', default: 'none' },
  ],
});
const scorer = { validate: (event: unknown) => schema.safeParse(event).data ?? {} };

it.each([
  ['{"x":0.10000000149011612,"more":"none"}', true],
  ['{"more":"none","x":0.1}', true],
  ['{"x":0.1}', true],
  ['{"x":0.2}', false],
  ['{"x":0.1,"more":"other"}', false],
  ['{}', false],
  ['null', false],
  ['{', false],
])('features %s are of the same event: %s', (features, same) => {
  expect(isSameEvent(scorer, features, schema.parse({ x: 0.1 }))).toBe(same);
});
