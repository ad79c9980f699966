import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { scorePipeline } from 'millrace/testing';

const example = new URL('../examples/forecast.json', import.meta.url);

test('forecast scores its example as in training', async () => {
  const event = JSON.parse(await readFile(example, 'utf8'));
  const { score } = await scorePipeline('forecast', event);
  assert.ok(Math.abs(score - 21.695960998535156) <= 0.002169596099853516, `the score is ${score}`);
});
