import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { describeSettings } from '../../platform/settings.js';
import { packageRoot } from '../../platform/paths.js';
import { describeWithTools } from './installed.js';
import { type Outcome, runTool } from './run-tool.js';

const file = 'docker-compose.redpanda.yaml';
const example = readFileSync(join(packageRoot, '.env.example'), 'utf8');
const roles = ['serve', 'process', 'sink', 'bridge', 'schedule'];

interface Service {
  image: string;
  command: string[] | null;
  read_only?: boolean;
  cap_drop?: string[];
  cap_add?: string[];
  privileged?: boolean;
  security_opt?: string[];
  restart?: string;
  healthcheck?: { test: string[] };
  deploy?: { resources?: { limits?: { memory?: string; cpus?: number; pids?: number } } };
  ports?: { host_ip?: string; published: string; target: number }[];
  volumes?: { type: string; source: string; target: string; read_only?: boolean }[];
  environment?: Record<string, string>;
}

describeWithTools('the compose file', { compose: 'docker-compose' }, ({ compose }) => {
  let folder: string;
  const config = async (settings: string, ...options: string[]): Promise<Outcome> => {
    const settingsFile = join(folder, 'env');
    await writeFile(settingsFile, settings);
    return runTool(compose, ['-f', file, '--env-file', settingsFile, 'config', ...options]);
  };
  let services: Record<string, Service>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-compose-'));
    const { output } = await config(example, '--format', 'json');
    ({ services } = JSON.parse(output) as { services: Record<string, Service> });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('is valid with the example settings, and without any warning', async () => {
    expect(await config(example, '--quiet')).toEqual({ status: 0, output: '' });
  });

  it('names each missing setting of the example, and what to do', async () => {
    const names = [...example.matchAll(/^(\w+)=/gm)].map(([, name]) => name);
    expect(names).toContain('KAFKA_PASSWORD');
    for (const name of names) {
      const without = example.replace(new RegExp(`^${name}=.*$`, 'm'), '');
      const { status, output } = await config(without, '--quiet');
      expect(status, name).not.toBe(0);
      expect(output).toContain(`required variable ${name} is missing a value: copy .env.example to .env`);
    }
  });

  it('is checked: anything unknown to compose fails', async () => {
    const broken = join(folder, 'broken.yaml');
    const text = readFileSync(join(packageRoot, file), 'utf8');
    await writeFile(broken, text.replace('read_only: true', 'read_onyl: true'));
    const settings = join(folder, 'env');
    await writeFile(settings, example);
    const { status, output } = runTool(compose, ['-f', broken, '--env-file', settings, 'config', '--quiet']);
    expect(status).not.toBe(0);
    expect(output).toContain('read_onyl');
  });

  it('has every engine and role, and no password', () => {
    const engines = ['redpanda', 'console', 'clickhouse', 'rabbitmq', 'redis', 'prometheus', 'grafana'];
    expect(Object.keys(services).toSorted()).toEqual([...engines, ...roles].toSorted());
    const text = readFileSync(join(packageRoot, file), 'utf8');
    for (const [, name, value] of text.matchAll(/(\w*(?:PASSWORD|PASS|KEYS))\w*: (.*)/g))
      expect(value, name).toMatch(/^\$\{\w+:\?/);
  });

  it('confines each service', () => {
    for (const [name, service] of Object.entries(services)) {
      expect(service.image, name).toMatch(/:v?\d+\.\d+\.\d+/);
      expect(service, name).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        restart: 'unless-stopped',
      });
      expect(service.cap_add ?? service.privileged, name).toBeUndefined();
      expect(service.healthcheck?.test.length, name).toBeGreaterThan(1);
      const { cpus, memory, pids } = service.deploy?.resources?.limits ?? {};
      expect([cpus, memory, pids], name).not.toContain(undefined);
      for (const port of service.ports ?? []) expect(port.host_ip, name).toBe('127.0.0.1');
    }
  });

  it('keeps the fixed ports', () => {
    const published = Object.entries(services).flatMap(([name, { ports = [] }]) =>
      ports.map((port) => `${name} ${port.published}`),
    );
    for (const port of ['serve 8080', 'redpanda 9092', 'redpanda 8081', 'clickhouse 8123', 'console 8085'])
      expect(published).toContain(port);
  });

  it('gives the roles settings that exist, with valid values', () => {
    const known = new Set(describeSettings().map(({ name }) => name));
    for (const role of roles) {
      const { environment = {}, command } = services[role] ?? {};
      expect(command).toEqual([role]);
      for (const name of Object.keys(environment)) expect(known, role).toContain(name);
      expect(() => loadConfig(environment)).not.toThrow();
      const { KAFKA_BROKERS, SCHEMA_REGISTRY_URL, CLICKHOUSE_URL } = loadConfig(environment);
      const hosts = [...(KAFKA_BROKERS ?? []), SCHEMA_REGISTRY_URL, CLICKHOUSE_URL].map(
        (address) => /^(?:\w+:\/\/)?(\w+):\d+$/.exec(address ?? '')?.[1],
      );
      for (const host of hosts) expect(Object.keys(services)).toContain(host);
    }
  });

  it('mounts the models in every role, writable for serve only, and mounts existing files', () => {
    for (const role of roles) {
      const models = services[role]?.volumes?.find(({ target }) => target === '/var/lib/millrace/models');
      expect(models, role).toMatchObject({ type: 'volume', source: 'models' });
      expect(models?.read_only ?? false).toBe(role !== 'serve');
    }
    const mounted = Object.values(services).flatMap(({ volumes = [] }) =>
      volumes.filter(({ type }) => type === 'bind'),
    );
    expect(mounted.length).toBeGreaterThan(3);
    for (const { source } of mounted) expect(() => readFileSync(source)).not.toThrow(/ENOENT/);
  });
});
