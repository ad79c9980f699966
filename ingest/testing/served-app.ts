import type { Logger } from '../../platform/logger.js';
import { serveHttp } from '../server.js';
import { clientOf, startTestApp, type TestApp } from './test-app.js';

/** A test's HTTP API on a free port, for clients that need connections. */
export interface ServedApp extends TestApp {
  /** Its address, without a slash at the end. */
  http: string;
}

/**
 * Starts the API of {@link startTestApp} and serves it. `get`, `send` and `post` use its port.
 *
 * @param settings - of the app, as in the environment.
 */
export async function serveTestApp(
  settings: Record<string, string> = {},
  logger?: Logger,
): Promise<ServedApp> {
  const api = await startTestApp(settings, logger);
  const server = await serveHttp(api.app, '127.0.0.1', 0);
  const http = `http://127.0.0.1:${server.port}`;
  return {
    ...api,
    ...clientOf((path, init) => fetch(http + path, init)),
    http,
    stop: async () => {
      await server.stop();
      await api.stop();
    },
  };
}
