import { rm, symlink } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SummingProject } from '../../processors/testing/summing-project.js';
import { readProject } from './project-files.js';

let project: SummingProject;

beforeEach(async () => {
  project = await SummingProject.create('m');
});

afterEach(() => project.remove());

const read = () => readProject(project.folder, ['m']);

/** Puts a link to itself in place of a folder: it is there, but can't be listed. */
async function loop(path: string): Promise<void> {
  await rm(project.path(path), { recursive: true });
  await symlink(project.path(path), project.path(path));
}

it('finds pipelines, versions and models', async () => {
  expect([...(await read()).keys()]).toEqual(['processors/pipelines/m', 'models/m/1', 'models/m']);
});

it('takes folders that are missing as empty', async () => {
  await project.remove('processors');
  await project.remove('models/m');
  expect([...(await read()).keys()]).toEqual(['models/m']);
});

it.each(['processors/pipelines', 'models/m'])(
  'does not take %s as empty if it can’t be listed',
  async (path) => {
    await loop(path);
    await expect(read()).rejects.toThrow(/ELOOP/);
  },
);

it('tells a file that can’t be read from one that is missing', async () => {
  const files = async () => (await read()).get('processors/pipelines/m')?.files;
  await project.write('processors/pipelines/m/pipeline.json', { contract: 'elsewhere' });
  const missing = await files();
  await symlink(project.path('elsewhere'), project.path('elsewhere'));
  expect(await files()).not.toBe(missing);
});
