import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { AuditedSystem } from './audit.js';
import { type SeparateEngine, testEngines } from './engines/chosen.js';
import { startExternalEngines, stopExternalEngines } from './engines/external.js';
import { freePorts, killPrograms, type Program, startProgram } from './programs.js';
import { TcpProxy } from './tcp-proxy.js';

/** Engines in separate processes, each of which can be stopped and restarted on the same port and data. */
export interface Engines extends AuditedSystem {
  log: SeparateEngine;
  clickHouse: SeparateEngine;
  /** Millrace's view of the registry. */
  registryProxy: TcpProxy;
  /** Starts a part of Millrace on these engines. */
  startMillrace(args: string[], settings?: Record<string, string>): Program;
  /** Address of the part of Millrace that listens on `PORT`. */
  http: string;
  stop(): Promise<void>;
}

/** Starts the engines, and prepares the start of the rest. */
export async function startEnginesApart(): Promise<Engines> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-outages-'));
  const external = await startExternalEngines();
  const ports = await freePorts('http', 'kafka', 'registry', 'seenRegistry', 'clickHouse');
  const {
    KAFKA_BROKERS = `127.0.0.1:${ports.kafka}`,
    SCHEMA_REGISTRY_URL = `http://127.0.0.1:${ports.registry}`,
    CLICKHOUSE_URL = `http://127.0.0.1:${ports.clickHouse}`,
  } = external.settings;
  const registryProxy = new TcpProxy({
    port: ports.seenRegistry,
    target: Number(new URL(SCHEMA_REGISTRY_URL).port),
  });
  const stop = async (): Promise<void> => {
    await killPrograms();
    await stopExternalEngines(external);
    await registryProxy.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    if (testEngines === 'apache-kafka') {
      const own = { KAFKA_BROKERS, SCHEMA_REGISTRY_PORT: String(ports.registry) };
      const registry = startProgram('tests/system/engines/schema-registry.js', [], own);
      await whenAnswers(`${SCHEMA_REGISTRY_URL}/subjects`, registry);
    }
    const log =
      external.log ??
      (await startEngine('log', `${SCHEMA_REGISTRY_URL}/subjects`, {
        DATA_DIR: join(folder, 'log'),
        KAFKA_PORT: String(ports.kafka),
        SCHEMA_REGISTRY_PORT: String(ports.registry),
      }));
    const clickHouse =
      external.clickHouse ??
      (await startEngine('clickhouse', `${CLICKHOUSE_URL}/ping`, {
        DATA_DIR: join(folder, 'clickhouse'),
        CLICKHOUSE_PORT: String(ports.clickHouse),
      }));
    await registryProxy.open();
    return {
      http: `http://127.0.0.1:${ports.http}`,
      kafka: KAFKA_BROKERS.split(','),
      schema_registry: SCHEMA_REGISTRY_URL,
      clickhouse: CLICKHOUSE_URL,
      log,
      clickHouse,
      registryProxy,
      startMillrace: (args, settings = {}) =>
        startProgram('cli/main.js', args, {
          PORT: String(ports.http),
          KAFKA_BROKERS,
          SCHEMA_REGISTRY_URL: `http://127.0.0.1:${ports.seenRegistry}`,
          CLICKHOUSE_URL,
          DATA_DIR: join(folder, 'millrace'),
          ...settings,
        }),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Runs `engines/<name>.js`, an embedded engine in a separate process. */
async function startEngine(
  name: string,
  url: string,
  settings: Record<string, string>,
): Promise<SeparateEngine> {
  let program: Program;
  const restart = async (): Promise<void> => {
    program = startProgram(`tests/system/engines/${name}.js`, [], settings);
    await whenAnswers(url, program);
  };
  await restart();
  return {
    restart,
    kill: () => program.kill(),
    pause: () => program.signal('SIGSTOP'),
    resume: () => program.signal('SIGCONT'),
    stop: () => program.kill(),
  };
}

async function whenAnswers(url: string, program: Program): Promise<void> {
  await vi.waitFor(
    async () => {
      if (program.hasExited()) throw new Error(program.output());
      await fetch(url);
    },
    { timeout: 20_000, interval: 50 },
  );
}
