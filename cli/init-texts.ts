/** Returns the test of the example pipeline. */
export function exampleTest(pipeline: string): string {
  return `import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { scorePipeline } from 'millrace/testing';

const file = new URL('../examples/${pipeline}.json', import.meta.url);
const example = JSON.parse(await readFile(file, 'utf8'));

test('a client who pays late defaults more likely', async () => {
  const [punctual, late] = await scorePipeline('${pipeline}', [
    { ...example, PAY_0: 0, PAY_2: 0 },
    { ...example, PAY_0: 3, PAY_2: 3 },
  ]);
  assert.ok(late.score > punctual.score, \`\${late.score} is not more than \${punctual.score}\`);
});

test('an event that does not fit the contract is refused', async () => {
  await assert.rejects(scorePipeline('${pipeline}', { ...example, AGE: 'young' }), { code: 'EVENT_INVALID' });
});
`;
}

/** Returns the README of a project. */
export function exampleReadme(pipeline: string): string {
  return `# A Millrace project

\`\`\`sh
npm install
npm start       # the whole system, with sample events; Ctrl-C stops it
npm test        # tests of the pipelines, without a server
\`\`\`

Score an event:

\`\`\`sh
curl -X POST localhost:8080/v1/pipelines/${pipeline}/predict -H 'content-type: application/json' -d @examples/${pipeline}.json
npx millrace sql "SELECT event_id, score, label FROM millrace.predictions_by_time LIMIT 5"
\`\`\`

| folder                                     | content                                                      |
| ------------------------------------------ | ------------------------------------------------------------ |
| \`schemas/<pipeline>/event.v1.avsc\`         | the contract: fields of an event, with types and limits      |
| \`models/<model>/<version>/\`                | \`model.onnx\`, \`model.json\`, \`golden.json\`                    |
| \`processors/pipelines/<pipeline>/\`         | \`pipeline.json\`, or \`pipeline.js\` or \`pipeline.ts\` with code |
| \`examples/\`, \`tests/\`                      | events to try, and tests                                     |

\`${pipeline}\` is an example: the probability that a credit-card client fails to make next month's payment, trained on the
UCI table "Default of Credit Card Clients". Delete its folders once you have a pipeline of your own:

\`\`\`sh
npx millrace new churn --model churn.onnx --sample churn.csv
\`\`\`

All data is in \`.millrace/\`. Delete the folder to start afresh.
`;
}
