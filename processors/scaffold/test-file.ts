import { isProbability, type ModelManifest } from '../../models/manifest.js';

/**
 * Returns the content of a test, for `node --test`, that scores a pipeline's example. It holds for each
 * version of the model: exact numbers are the golden rows' matter.
 */
export function testOf(name: string, { output }: Pick<ModelManifest, 'output'>): string {
  const { classes } = output;
  const score = isProbability(output) ? 'score >= 0 && score <= 1' : 'Number.isFinite(score)';
  const labels =
    classes === undefined
      ? ''
      : `  assert.ok(${literal(classes)}.includes(label), \`the label is \${label}\`);\n`;
  return `import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { scorePipeline } from 'millrace/testing';

const example = new URL('../examples/${name}.json', import.meta.url);

test('${name} scores its example', async () => {
  const event = JSON.parse(await readFile(example, 'utf8'));
  const { score${classes === undefined ? '' : ', label'} } = await scorePipeline('${name}', event);
  assert.ok(${score}, \`the score is \${score}\`);
${labels}  // Add what has to hold for each version of the model. Golden rows check exact numbers.
});
`;
}

function literal(classes: readonly string[]): string {
  return JSON.stringify(classes).replaceAll(',"', ', "');
}
