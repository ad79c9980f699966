import { expect } from 'vitest';
import type { RunningServer } from '../../local-http.js';
import type { LogRecord, RegistryLog } from '../log.js';
import { startSchemaRegistry } from '../server.js';

/** A log in memory, whose appends can fail or wait. */
export class MemoryLog implements RegistryLog {
  records: LogRecord[] = [];
  beforeAppend: () => Promise<void> = () => Promise.resolve();

  async append(records: LogRecord[]): Promise<void> {
    await this.beforeAppend();
    this.records.push(...records);
  }

  async *read(): AsyncIterable<LogRecord> {
    yield* this.records;
  }

  /** Returns the log after compaction: the last record of each key, and no tombstones. */
  compact(): void {
    const last = new Map(this.records.map((record) => [record.key?.toString(), record]));
    this.records = [...last.values()].filter((record) => record.value !== null);
  }
}

/** The calls of a registry's API. */
export class RegistryClient {
  url: string;

  constructor(url: string) {
    this.url = url;
  }

  async call(method: string, path: string, body?: unknown): Promise<[status: number, body: unknown]> {
    const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
    const withBody = body === undefined ? {} : { body: JSON.stringify(body), headers };
    const response = await fetch(`${this.url}${path}`, { method, ...withBody });
    const type = response.headers.get('content-type');
    if (type !== headers['content-type']) throw new Error(`answered with content type ${type}`);
    return [response.status, await response.json()];
  }

  async register(subject: string, schema: string): Promise<[status: number, body: unknown]> {
    return await this.call('POST', `/subjects/${subject}/versions`, { schema });
  }
}

/** A registry on a log in memory. */
export class TestRegistry extends RegistryClient {
  readonly log = new MemoryLog();
  #server: RunningServer | undefined;

  constructor() {
    super('');
  }

  async start(): Promise<void> {
    this.#server = await startSchemaRegistry({ host: '127.0.0.1', port: 0, log: this.log });
    this.url = `http://127.0.0.1:${this.#server.port}`;
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}

export const recordSchema = (...fields: object[]) =>
  JSON.stringify({ type: 'record', name: 'R', namespace: 'n', fields });
export const v1 = recordSchema({ name: 'a', type: 'int' });
export const v2 = recordSchema({ name: 'a', type: 'int' }, { name: 'b', type: 'string', default: '' });
/** Readers of it can't read data written with v1. */
export const breaking = recordSchema({ name: 'a', type: 'int' }, { name: 'c', type: 'string' });

/** An error in the API's form. */
export const failed = (code: number): unknown =>
  expect.objectContaining({ error_code: code, message: expect.any(String) });
