// Runs in a separate process, started by smokeTest(): tests versions one after the other, and sends the
// results.
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { RowResult } from '../micro-batcher.js';
import type { ModelOutput } from '../outputs.js';
import { createModelRuntime } from '../runtime.js';
import type { Trial, Trials, Verdict } from './smoke-test.js';

const runtime = createModelRuntime();

process.once('message', (message) => {
  void answer(message as Trials);
});

async function answer({ trials }: Trials): Promise<void> {
  const verdicts: Verdict[] = [];
  for (const trial of trials) verdicts.push(await attempt(trial));
  process.send?.(verdicts, () => process.exit(0));
}

async function attempt({ folder, rows }: Trial): Promise<Verdict> {
  try {
    const model = await runtime.load(folder);
    const results = await model.predict(rows);
    await model.unload();
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
