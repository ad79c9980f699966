import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { AuditedSystem } from './audit.js';
import { freePorts, killPrograms, type Program, startProgram } from './programs.js';
import { TcpProxy } from './tcp-proxy.js';

/** Engines in processes of their own, each to be taken away and brought back on the same port and data. */
export interface Engines extends AuditedSystem {
  startLog(): Program;
  startClickHouse(): Program;
  /** What Millrace sees of the registry. */
  registryProxy: TcpProxy;
  /** Starts a part of Millrace on these engines. */
  startMillrace(args: string[], settings?: Record<string, string>): Program;
  /** Where the part of Millrace that answers on `PORT` is. */
  http: string;
  stop(): Promise<void>;
}

/** Starts the engines, and makes the rest ready to be started. */
export async function startEnginesApart(): Promise<Engines & { log: Program; clickHouse: Program }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-outages-'));
  const ports = await freePorts('http', 'kafka', 'registry', 'seenRegistry', 'clickHouse');
  const clickhouse = `http://127.0.0.1:${ports.clickHouse}`;
  const registryProxy = new TcpProxy({ port: ports.seenRegistry, target: ports.registry });
  const startLog = (): Program =>
    startProgram('tests/system/engines/log.js', [], {
      DATA_DIR: join(folder, 'log'),
      KAFKA_PORT: String(ports.kafka),
      SCHEMA_REGISTRY_PORT: String(ports.registry),
    });
  const startClickHouse = (): Program =>
    startProgram('tests/system/engines/clickhouse.js', [], {
      DATA_DIR: join(folder, 'clickhouse'),
      CLICKHOUSE_PORT: String(ports.clickHouse),
    });
  const schema_registry = `http://127.0.0.1:${ports.registry}`;
  const log = startLog();
  const clickHouse = startClickHouse();
  const stop = async (): Promise<void> => {
    await killPrograms();
    await registryProxy.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await registryProxy.open();
    await whenAnswers(`${schema_registry}/subjects`, log);
    await whenAnswers(`${clickhouse}/ping`, clickHouse);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    http: `http://127.0.0.1:${ports.http}`,
    kafka: [`127.0.0.1:${ports.kafka}`],
    schema_registry,
    clickhouse,
    log,
    clickHouse,
    startLog,
    startClickHouse,
    registryProxy,
    startMillrace: (args, settings = {}) =>
      startProgram('cli/main.js', args, {
        PORT: String(ports.http),
        KAFKA_BROKERS: `127.0.0.1:${ports.kafka}`,
        SCHEMA_REGISTRY_URL: `http://127.0.0.1:${ports.seenRegistry}`,
        CLICKHOUSE_URL: clickhouse,
        DATA_DIR: join(folder, 'millrace'),
        ...settings,
      }),
    stop,
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
