import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { vi } from 'vitest';
import { packageRoot } from '../../../platform/paths.js';
import { freePorts } from '../programs.js';
import type { SeparateEngine } from './chosen.js';

/** The versions that `docker-compose.redpanda.yaml` runs too. */
const images = {
  redpanda: 'docker.redpanda.com/redpandadata/redpanda:v26.1.14',
  clickHouse: 'clickhouse/clickhouse-server:26.8.2.7',
  rabbitMq: 'rabbitmq:4.2.9-management',
  redis: 'redis:8.6.5',
} as const;

export interface Container extends SeparateEngine {
  /** Stops it in order; `restart` starts it again. */
  shutDown(): Promise<void>;
  output(): Promise<string>;
}

interface ContainerOptions {
  image: keyof typeof images;
  /** Ports of the container, to those of this machine. */
  ports: Record<number, number>;
  command?: string[];
  environment?: Record<string, string>;
  /** Texts by their path in the container. */
  files?: Record<string, string>;
  /** Throws until the engine serves clients. */
  check: () => Promise<unknown>;
}

/** Starts a container; resolves when it serves clients, and so does its `restart`. */
export async function startContainer({ image, check, ...options }: ContainerOptions): Promise<Container> {
  // Not one of this project's packages: `npm run test:containers` installs it.
  const url = pathToFileURL(join(packageRoot, 'tests', 'containers', 'start.mjs')).href;
  const { startContainer: start } = (await import(url)) as {
    startContainer: (options: object) => Promise<Container>;
  };
  const container = await start({ ...options, image: images[image] });
  const whenReady = (): Promise<unknown> => vi.waitFor(check, { timeout: 60_000, interval: 100 });
  try {
    await whenReady();
  } catch (error) {
    const output = await container.output();
    await container.stop();
    throw new Error(`${image} did not start. Its output ends with:\n${output.slice(-3_000)}`, {
      cause: error,
    });
  }
  return {
    ...container,
    restart: async () => {
      await container.restart();
      await whenReady();
    },
  };
}

/** Starts Redpanda and its registry. It must know its advertised address at the start. */
export async function startRedpanda(): Promise<{ brokers: string; registry: string; engine: Container }> {
  const { kafka, registry, admin } = await freePorts('kafka', 'registry', 'admin');
  const brokers = `127.0.0.1:${kafka}`;
  const registryUrl = `http://127.0.0.1:${registry}`;
  const engine = await startContainer({
    image: 'redpanda',
    ports: { 9092: kafka, 8081: registry, 9644: admin },
    // Not `--mode dev-container`, which acknowledges records before they are on disk.
    command: [
      'redpanda',
      'start',
      '--node-id=0',
      '--smp=1',
      '--memory=1G',
      '--reserve-memory=0M',
      '--overprovisioned',
      '--check=false',
      '--default-log-level=warn',
      '--kafka-addr=PLAINTEXT://0.0.0.0:9092',
      `--advertise-kafka-addr=PLAINTEXT://${brokers}`,
      '--schema-registry-addr=0.0.0.0:8081',
    ],
    files: {
      '/etc/redpanda/.bootstrap.yaml':
        'auto_create_topics_enabled: true\ngroup_initial_rebalance_delay: 0\ngroup_topic_partitions: 4\n',
    },
    check: async () => {
      await expectOk(`http://127.0.0.1:${admin}/v1/status/ready`);
      await expectOk(`${registryUrl}/subjects`);
    },
  });
  return { brokers, registry: registryUrl, engine };
}

/** A ClickHouse server whose user `default` needs no password. */
export async function startClickHouse(): Promise<{ url: string; engine: Container }> {
  const { http } = await freePorts('http');
  const url = `http://127.0.0.1:${http}`;
  const engine = await startContainer({
    image: 'clickHouse',
    ports: { 8123: http },
    environment: { CLICKHOUSE_SKIP_USER_SETUP: '1' },
    check: () => expectOk(`${url}/ping`),
  });
  return { url, engine };
}

async function expectOk(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
}
