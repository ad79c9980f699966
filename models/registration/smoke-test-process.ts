// Runs in a separate process, started by smokeTest(): tests one version and sends the result.
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { RowResult } from '../micro-batcher.js';
import type { ModelOutput } from '../outputs.js';
import { createModelRuntime } from '../runtime.js';
import type { Trial, Verdict } from './smoke-test.js';

process.once('message', (message) => {
  void answer(message as Trial);
});

async function answer(trial: Trial): Promise<void> {
  const verdict = await attempt(trial);
  process.send?.(verdict, () => process.exit(0));
}

async function attempt({ folder, rows }: Trial): Promise<Verdict> {
  try {
    const model = await createModelRuntime().load(folder);
    const results = await model.predict(rows);
    return { outputs: results.map((result) => answerOf(result)) };
  } catch (error) {
    // A worker can only die of this version, since nothing else runs here. A retry would not help.
    const isPlain = error instanceof MillraceError && !error.retriable;
    return { code: isPlain ? error.code : 'MODEL_REFUSED', message: messageOf(error) };
  }
}

function answerOf(result: RowResult): ModelOutput {
  if (!(result instanceof MillraceError)) return result;
  throw new MillraceError('MODEL_REFUSED', `A sample event of the pipeline has no score: ${result.message}`);
}
