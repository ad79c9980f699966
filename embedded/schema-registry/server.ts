import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { refusalOfBrowserRequest } from '../../platform/browser-requests.js';
import { messageOf } from '../../platform/errors.js';
import { silentLogger, type Logger } from '../../platform/logger.js';
import { serve, type RunningServer } from '../local-http.js';
import { createRegistryApp } from './app.js';
import { decodeChange, type LogRecord, type RegistryLog } from './log.js';
import { Registry } from './registry.js';
import { RegistryState } from './state.js';

export interface SchemaRegistryOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** Name of the setting for `port`, for the error `PORT_IN_USE`. Default `port`. */
  portSetting?: string;
  log: RegistryLog;
  logger?: Logger;
}

/**
 * Serves a schema registry with Confluent's REST API; its state is derived from the log. An answer to a write
 * is sent after the log has it. Only one registry at a time may write to a log; a shared log must enforce
 * that.
 *
 * @throws {MillraceError} `PORT_IN_USE`, `LISTEN_FAILED`; errors of reading the log.
 */
export async function startSchemaRegistry(options: SchemaRegistryOptions): Promise<RunningServer> {
  const { host, port, portSetting: setting = 'port', log, logger = silentLogger } = options;
  const state = new RegistryState();
  const apply = (record: LogRecord): void => {
    try {
      state.apply(decodeChange(record));
    } catch (error) {
      // Anyone can write to the topic; a foreign record must not stop the registry.
      logger.warn(
        { key: record.key?.toString(), reason: messageOf(error) },
        'schema registry: skipped a record',
      );
    }
  };
  for await (const record of log.read(apply)) apply(record);
  const app = createRegistryApp(new Registry(log, state), logger);
  const listener = getRequestListener((request) => {
    const refusal = refusalOfBrowserRequest(Object.fromEntries(request.headers), host);
    return refusal === undefined ? app.fetch(request) : new Response(`${refusal}\n`, { status: 403 });
  });
  const server = createServer((request, response) => void listener(request, response));
  return await serve(server, { host, port, name: 'schema registry', setting });
}
