import type { Socket } from 'node:net';
import { MillraceError } from '../../../platform/errors.js';
import { apiVersions, encodeUnsupportedApiVersions } from '../apis/18-api-versions.js';
import { saslHandshake } from '../apis/17-sasl-handshake.js';
import { saslAuthenticate } from '../apis/36-sasl-authenticate.js';
import { ConnectionRefused } from '../protocol/api.js';
import type { Api, RequestContext, RequestGate } from '../protocol/api.js';
import { Reader } from '../protocol/reader.js';
import { Writer } from '../protocol/writer.js';
import type { Authentication } from '../security/authentication.js';
import type { Services } from '../services.js';
import type { Interceptors } from './interceptors.js';

/** The connection's data for a request. */
export interface Client {
  socket: Socket;
  authentication: Authentication;
  /** Aborted when the connection is closed. */
  closed: AbortSignal;
}

interface Request {
  api: Api;
  version: number;
  correlationId: number;
  clientId: string;
  reader: Reader;
}

const beforeAuthentication: ReadonlySet<Api> = new Set([apiVersions, saslHandshake, saslAuthenticate]);

/**
 * Turns a frame into its answer: reads the request's header, finds the API, calls it, and frames the
 * response.
 */
export class Dispatcher {
  readonly #services: Services;
  readonly #apis: ReadonlyMap<number, Api>;
  readonly #interceptors: Interceptors;

  constructor(services: Services, apis: readonly Api[], interceptors: Interceptors) {
    this.#services = services;
    this.#apis = new Map(apis.map((api) => [api.key, api]));
    this.#interceptors = interceptors;
  }

  /**
   * Returns the answer, without its length yet; `undefined` when none is sent. Requests take effect in the
   * order of the calls. Rejects when the connection must be closed, with the reason as the message.
   */
  async answer(frame: Buffer, client: Client): Promise<Writer | undefined> {
    if (client.authentication.expectsRawToken) return await answerRawToken(frame, client.authentication);
    const reader = new Reader(frame);
    const key = reader.int16();
    const version = reader.int16();
    const correlationId = reader.int32();
    const api = this.#apis.get(key);
    if (api === undefined) throw new MillraceError('API_NOT_SERVED', `API key ${key} is not served.`);
    if (!client.authentication.done && !beforeAuthentication.has(api)) {
      throw new MillraceError('NOT_AUTHENTICATED', `${api.name} came before authentication.`);
    }
    if (version < api.minVersion || version > api.maxVersion) {
      if (api === apiVersions && version > api.maxVersion) return unsupportedVersions(correlationId);
      throw new MillraceError(
        'API_NOT_SERVED',
        `${api.name} version ${version} is not served (${api.minVersion} to ${api.maxVersion} are).`,
      );
    }
    const clientId = reader.headerString() ?? '';
    reader.flexible = version >= api.flexibleFrom;
    reader.tags();
    return await this.#serve({ api, version, correlationId, clientId, reader }, client);
  }

  async #serve(request: Request, client: Client): Promise<Writer | undefined> {
    const { api, version, correlationId, clientId, reader } = request;
    const { socket, authentication, closed } = client;
    const context: RequestContext = {
      services: this.#services,
      version,
      clientId,
      authentication,
      clientHost: plainAddress(socket.remoteAddress),
      localHost: plainAddress(socket.localAddress),
      localPort: socket.localPort ?? 0,
      closed,
    };
    const { gate, dropAnswer } = this.#gateFor(request);
    const encode = await api.serve(reader, context, gate);
    if (dropAnswer()) throw new ConnectionRefused('an interceptor dropped the answer');
    if (encode === undefined) return undefined;
    const writer = startAnswer(correlationId);
    writer.flexible = version >= api.flexibleFrom;
    // ApiVersions answers with the oldest response header, so that any client can read it.
    if (api !== apiVersions) writer.tags();
    encode(writer);
    return writer;
  }

  #gateFor({ api, version, correlationId, clientId }: Request): {
    gate: RequestGate | undefined;
    dropAnswer: () => boolean;
  } {
    if (!this.#interceptors.has(api.key)) return { gate: undefined, dropAnswer: () => false };
    let dropAnswer = false;
    const gate: RequestGate = async (body) => {
      const verdict = await this.#interceptors.judge({
        apiKey: api.key,
        version,
        correlationId,
        clientId,
        body,
      });
      if (verdict === 'drop') throw new ConnectionRefused('an interceptor dropped the connection');
      if (verdict === 'drop-answer') dropAnswer = true;
      return typeof verdict === 'object' ? verdict.errorCode : undefined;
    };
    return { gate, dropAnswer: () => dropAnswer };
  }
}

function startAnswer(correlationId: number): Writer {
  const writer = new Writer();
  writer.int32(0);
  writer.int32(correlationId);
  return writer;
}

function unsupportedVersions(correlationId: number): Writer {
  const writer = startAnswer(correlationId);
  encodeUnsupportedApiVersions(writer);
  return writer;
}

/** A bare token has no room for an error: a refusal only closes the connection. */
async function answerRawToken(frame: Buffer, authentication: Authentication): Promise<Writer> {
  const { errorCode, message, bytes } = await authentication.next(frame);
  if (errorCode !== 0) throw new MillraceError('NOT_AUTHENTICATED', message ?? 'Authentication failed.');
  const writer = new Writer();
  writer.int32(0);
  writer.bytes(bytes);
  return writer;
}

/** Returns IPv4 addresses without their prefix on a dual-stack socket. */
function plainAddress(address: string | undefined): string {
  return address?.replace(/^::ffff:/, '') ?? '';
}
