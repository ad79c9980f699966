import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { scorePipeline } from 'millrace/testing';

const example = new URL('../examples/iris.json', import.meta.url);

test('iris scores its example as when it was made', async () => {
  const event = JSON.parse(await readFile(example, 'utf8'));
  const { score, label } = await scorePipeline('iris', event);
  assert.ok(Math.abs(score - 0.9820637702941895) <= 0.0001, `the score is ${score}`);
  assert.equal(label, 'setosa');
});
