import type { ModelOutput } from '../../models/outputs.js';

/** Returns the content of a test, for `node --test`, that scores a pipeline's example. */
export function testOf(name: string, { score, label }: ModelOutput): string {
  return `import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { scorePipeline } from 'millrace/testing';

const example = new URL('../examples/${name}.json', import.meta.url);

test('${name} scores its example as when it was made', async () => {
  const event = JSON.parse(await readFile(example, 'utf8'));
  const { score${label === null ? '' : ', label'} } = await scorePipeline('${name}', event);
  assert.ok(Math.abs(score - ${score}) <= ${1e-4 * Math.max(1, Math.abs(score))}, \`the score is \${score}\`);
${label === null ? '' : `  assert.equal(label, ${JSON.stringify(label)});\n`}});
`;
}
