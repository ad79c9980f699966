import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { getRequestListener, RequestError } from '@hono/node-server';
import type { Hono } from 'hono';
import { MillraceError } from '../platform/errors.js';
import { listen } from '../platform/listen.js';
import { type Problem, toProblem } from '../platform/problem.js';

/** A listening HTTP server. */
export interface HttpServer {
  port: number;
  /** Answers with another app from the next request on. */
  use(app: Hono): void;
  /**
   * Accepts no more connections, lets requests in flight end for `graceMs` (default 5,000), then cuts the
   * rest.
   */
  stop(graceMs?: number): Promise<void>;
}

/**
 * Answers are for programs; a route that answers with a page has its own headers. Other sites may not use the
 * answers.
 */
const securityHeaders = [
  ['x-content-type-options', 'nosniff'],
  ['x-frame-options', 'DENY'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cache-control', 'no-store'],
] as const;

/**
 * Serves an app. Resolves when the port is open.
 *
 * @param port - 0 takes a free one.
 * @param headersTimeoutMs - time limit of a request's headers, and approximately of an idle connection.
 * @throws MillraceError `PORT_IN_USE` or `LISTEN_FAILED`.
 */
export async function serveHttp(
  app: Hono,
  host: string,
  port: number,
  { headersTimeoutMs = 10_000 }: { headersTimeoutMs?: number } = {},
): Promise<HttpServer> {
  let current = app;
  const answer = getRequestListener(
    (request, environment) => {
      const { incoming } = environment as { incoming: IncomingMessage };
      return incoming.httpVersion === '1.1' && incoming.headers.host === undefined
        ? malformedResponse('it has no Host header')
        : current.fetch(request, environment);
    },
    {
      // HTTP/1.0 has no Host header; old probes use it.
      hostname: 'localhost',
      errorHandler: (error) =>
        error instanceof RequestError ? malformedResponse(error.message) : problemResponse(toProblem(error)),
    },
  );
  const options = {
    headersTimeout: headersTimeoutMs,
    connectionsCheckingInterval: headersTimeoutMs / 4,
    // Checked above, with an error in the answer.
    requireHostHeader: false,
  };
  const responses = new Set<ServerResponse>();
  const server = createServer(options, (request, response) => {
    for (const [name, value] of securityHeaders) response.setHeader(name, value);
    responses.add(response);
    response.once('close', () => responses.delete(response));
    if (limitPipelining(request, response)) void answer(request, response);
  });
  server.on('clientError', refuseMalformed);
  const openPort = await listen(server, { host, port, name: 'HTTP API', setting: 'PORT' });
  return {
    port: openPort,
    use: (next) => void (current = next),
    stop: (graceMs = 5_000) => stop(server, responses, graceMs),
  };
}

/** Maximum pipelined requests of one connection. */
const maxPipelined = 256;
const pipelined = new WeakMap<Duplex, number>();

/**
 * Ends a connection whose client sends many requests and reads no answers. @returns whether to answer this
 * one.
 */
function limitPipelining({ socket }: IncomingMessage, response: ServerResponse): boolean {
  const waiting = (pipelined.get(socket) ?? 0) + 1;
  pipelined.set(socket, waiting);
  response.once('close', () => pipelined.set(socket, (pipelined.get(socket) ?? 1) - 1));
  if (waiting > maxPipelined) socket.destroy();
  return !socket.destroyed;
}

function malformed(problem: string): Problem {
  return toProblem(new MillraceError('REQUEST_MALFORMED', `This is no request of HTTP/1.1: ${problem}.`));
}

const malformedResponse = (problem: string): Response => problemResponse(malformed(problem));

function problemResponse(problem: Problem): Response {
  const headers = { 'content-type': 'application/problem+json' };
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}

/** Answers requests that the HTTP parser refuses, with Node's statuses, and closes the connection. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const reason = 'reason' in error ? String(error.reason) : error.message;
  const status =
    { HPE_HEADER_OVERFLOW: 431, HPE_CHUNK_EXTENSIONS_OVERFLOW: 413, ERR_HTTP_REQUEST_TIMEOUT: 408 }[
      error.code ?? ''
    ] ?? 400;
  const body = JSON.stringify({ ...malformed(reason.replace(/\.$/, '')), status });
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...securityHeaders.map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

async function stop(server: Server, responses: ReadonlySet<ServerResponse>, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // Otherwise a client that keeps its connection busy would be served until the end of the grace period.
  const closeAfter = (response: ServerResponse): void => {
    if (!response.headersSent) response.setHeader('connection', 'close');
  };
  for (const response of responses) closeAfter(response);
  server.prependListener('request', (_request, response) => closeAfter(response));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}
