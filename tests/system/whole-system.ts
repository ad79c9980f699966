import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditedSystem } from './audit.js';
import {
  type ExternalEngines,
  startExternalEngines,
  startExternalLog,
  stopExternalEngines,
} from './engines/external.js';
import { freePorts, killPrograms, type Program, startProgram } from './programs.js';

const portNames = ['PORT', 'KAFKA_PORT', 'SCHEMA_REGISTRY_PORT', 'CLICKHOUSE_PORT'] as const;

/**
 * `millrace up` in a separate process, which can be killed and restarted on the same ports, data and external
 * engines.
 */
export class WholeSystem implements AuditedSystem {
  /** For all files of a test: its data folder is `data` in it. */
  readonly folder: string;
  readonly ports: Readonly<Record<(typeof portNames)[number], number>>;
  external: ExternalEngines;

  private constructor(folder: string, ports: WholeSystem['ports'], external: ExternalEngines) {
    this.folder = folder;
    this.ports = ports;
    this.external = external;
  }

  /** Starts its external engines, and prepares its start. */
  static async create(): Promise<WholeSystem> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-system-'));
    const external = await startExternalEngines();
    return new WholeSystem(folder, await freePorts(...portNames), external);
  }

  start(settings: Record<string, string> = {}): Program {
    return startProgram('cli/main.js', ['up', '--no-demo'], { ...this.settings, ...settings });
  }

  get settings(): Record<string, string> {
    const ports = Object.entries(this.ports).map(([name, port]) => [name, String(port)]);
    return {
      ...(Object.fromEntries(ports) as Record<string, string>),
      ...this.external.settings,
      // The time that an external log waits for a killed process: the minimum that brokers allow.
      ...(this.external.log === undefined ? {} : { KAFKA_SESSION_TIMEOUT_MS: '6000' }),
      DATA_DIR: this.dataDir,
    };
  }

  /** Settings that point another process to its engines. */
  get engines(): Record<'KAFKA_BROKERS' | 'SCHEMA_REGISTRY_URL' | 'CLICKHOUSE_URL', string> {
    return {
      KAFKA_BROKERS: this.kafka.join(','),
      SCHEMA_REGISTRY_URL: this.schema_registry,
      CLICKHOUSE_URL: this.clickhouse,
    };
  }

  get dataDir(): string {
    return join(this.folder, 'data');
  }

  get http(): string {
    return `http://127.0.0.1:${this.ports.PORT}`;
  }

  get kafka(): string[] {
    return (this.external.settings['KAFKA_BROKERS'] ?? `127.0.0.1:${this.ports.KAFKA_PORT}`).split(',');
  }

  get schema_registry(): string {
    return (
      this.external.settings['SCHEMA_REGISTRY_URL'] ?? `http://127.0.0.1:${this.ports.SCHEMA_REGISTRY_PORT}`
    );
  }

  get clickhouse(): string {
    return this.external.settings['CLICKHOUSE_URL'] ?? `http://127.0.0.1:${this.ports.CLICKHOUSE_PORT}`;
  }

  /** Replaces the log by an empty one. The system must be stopped meanwhile. */
  async beginLogAnew(): Promise<void> {
    if (this.external.log === undefined) {
      await rm(join(this.dataDir, 'log'), { recursive: true });
      return;
    }
    await this.external.log.stop();
    const { log, settings } = await startExternalLog();
    this.external = { ...this.external, log, settings: { ...this.external.settings, ...settings } };
  }

  /** Stops every program of the test and the external engines, and removes all files. */
  async remove(): Promise<void> {
    await killPrograms();
    await stopExternalEngines(this.external);
    await rm(this.folder, { recursive: true, force: true });
  }
}
