import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { copyModel, testingModels } from '../../models/testing/copy-model.js';
import { writeSummingVersion } from '../../models/testing/summing-version.js';

/** The contract of these pipelines, whose model adds three numbers. */
const names = ['first', 'second', 'third'];
const fields = names.map((name) => ({ name, type: 'double' }));

/** An event of these pipelines. Its score is 6. */
export const summingEvent = { first: 1, second: 2, third: 3 };

/**
 * A project of a test, in a folder of its own. Its pipelines have no code, and each has a model of its name.
 */
export class SummingProject {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(...pipelines: string[]): Promise<SummingProject> {
    const project = new SummingProject(await mkdtemp(join(tmpdir(), 'millrace-project-')));
    for (const name of pipelines) await project.add(name);
    return project;
  }

  /** Adds a pipeline with version 1 of its model. */
  async add(name: string): Promise<void> {
    await this.train(name, '1', 'first');
    await this.write(`schemas/${name}/event.v1.avsc`, {
      type: 'record',
      name: `${name[0]?.toUpperCase()}${name.slice(1)}Event`,
      namespace: 'toys',
      fields,
    });
    await this.write(`processors/pipelines/${name}/pipeline.json`, {});
  }

  /**
   * Writes a version of a model, or changes it in place.
   *
   * @param note - another one gives another graph, with the same scores.
   * @param inputs - names of its inputs.
   */
  async train(name: string, version: string, note: string, inputs = names): Promise<void> {
    const golden = [1, 2, 0.5].map((value) => ({ features: inputs.map(() => value), prediction: 0 }));
    const source = await copyModel(join(testingModels, 'sum', '1'), this.path('.source'), {
      manifest: { inputs: inputs.map((input) => ({ name: input, dtype: 'float32', meaning: 'A number.' })) },
      golden,
    });
    const trained = this.path('.trained');
    await writeSummingVersion(source, trained, { name, version: note });
    const file = join(trained, 'model.json');
    const manifest = JSON.parse(await readFile(file, 'utf8')) as object;
    await writeFile(file, JSON.stringify({ ...manifest, version }));
    await cp(trained, this.path(`models/${name}/${version}`), { recursive: true });
  }

  /** Sets members of a JSON file. */
  async change(path: string, members: object): Promise<void> {
    const content = JSON.parse(await readFile(this.path(path), 'utf8')) as object;
    await this.write(path, { ...content, ...members });
  }

  async write(path: string, content: string | object): Promise<void> {
    await mkdir(dirname(this.path(path)), { recursive: true });
    await writeFile(this.path(path), typeof content === 'string' ? content : JSON.stringify(content));
  }

  /** Copies a file or folder within the project. */
  async copy(from: string, to: string): Promise<void> {
    await cp(this.path(from), this.path(to), { recursive: true });
  }

  /** Removes a file or folder; without a path the whole project. */
  async remove(path = '.'): Promise<void> {
    await rm(this.path(path), { recursive: true, force: true });
  }

  path(path: string): string {
    return join(this.folder, path);
  }
}
