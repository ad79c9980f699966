import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { scorePipeline } from 'millrace/testing';

const example = new URL('../examples/order-fraud.json', import.meta.url);

test('order-fraud scores its example as in training', async () => {
  const event = JSON.parse(await readFile(example, 'utf8'));
  const { score, label } = await scorePipeline('order-fraud', event);
  assert.ok(Math.abs(score - 0.9697086690928169) <= 0.0001, `the score is ${score}`);
  assert.equal(label, 'fine');
});
