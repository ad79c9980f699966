import { listVersions, openModel } from '../../models/registry.js';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import { isUsable, loadPipelines, type UsablePipeline } from '../../processors/pipelines/load-pipelines.js';
import { modelRoots } from '../../processors/pipelines/open-pipelines.js';
import { modelsOf } from '../../processors/scoring/model-router.js';
import type { Diagnosis } from './diagnosis.js';

const fix = 'Correct it as the message says. The other pipelines are not affected.';

/**
 * Checks the pipelines of the project and the folders of their models, whether a system runs or not. A
 * running one also reports pipelines that are down.
 *
 * @returns those that can be used.
 */
export async function checkPipelines(diagnosis: Diagnosis, config: Config): Promise<UsablePipeline[]> {
  const notes = diagnosis.notes('pipelines');
  try {
    const loaded = await loadPipelines(config.MILLRACE_PROJECT);
    for (const each of loaded) {
      const problem = isUsable(each) ? await modelProblem(each, config) : each.problem.message;
      if (problem !== undefined) notes.error(`${each.name}: ${problem}`, fix);
    }
    return loaded.filter(isUsable);
  } catch (error) {
    notes.error(messageOf(error), 'Run `millrace doctor` in the folder of the project.');
    return [];
  }
}

/** Returns why a model of a pipeline has no version that can be read, in any of the folders of versions. */
async function modelProblem({ pipeline }: UsablePipeline, config: Config): Promise<string | undefined> {
  for (const model of modelsOf(pipeline)) {
    const problems = await Promise.all(modelRoots(config).map((root) => versionProblem(root, model)));
    if (problems.every((problem) => problem !== undefined)) return problems.at(-1);
  }
  return undefined;
}

/** @returns nothing if a version can be read, else why the newest can't. */
async function versionProblem(root: string, model: string): Promise<string | undefined> {
  try {
    const [newest, ...older] = await listVersions(root, model);
    if (newest === undefined) return `The model ${model} has no version in ${root}. Add one.`;
    const problem = await openModel(root, model, newest).then(() => undefined, messageOf);
    if (problem === undefined) return undefined;
    for (const version of older)
      if (
        await openModel(root, model, version).then(
          () => true,
          () => false,
        )
      )
        return undefined;
    return problem;
  } catch (error) {
    return messageOf(error);
  }
}
