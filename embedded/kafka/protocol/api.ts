import type { Authentication } from '../security/authentication.js';
import type { Services } from '../services.js';
import { ErrorCode } from './error-codes.js';
import type { Reader } from './reader.js';
import type { Writer } from './writer.js';

export interface RequestContext {
  services: Services;
  version: number;
  clientId: string;
  /** Of the request's connection. */
  authentication: Authentication;
  /** The client's address. */
  clientHost: string;
  /** The address and port at which the client reached the broker, which it is told to connect to. */
  localHost: string;
  localPort: number;
  /** Aborted when the connection is closed, so that nothing waits on its behalf. */
  closed: AbortSignal;
}

/** One Kafka API: its supported versions, their encoding, and the handler. */
export interface ApiDefinition<Request, Response> {
  key: number;
  name: string;
  minVersion: number;
  maxVersion: number;
  /**
   * From this version on, compact types and tagged fields (KIP-482): reader and writer know them, and the
   * codec below marks structures (`structs`). Default: none.
   */
  flexibleFrom?: number;
  decode(reader: Reader, version: number): Request;
  /** Answers the request; `undefined` sends nothing (acks=0). Must take effect in the order of the calls. */
  handle(request: Request, context: RequestContext): Response | undefined | Promise<Response | undefined>;
  encode(writer: Writer, response: Response, version: number): void;
  /** Returns the response with `errorCode` in all error fields of this API. */
  refuse(request: Request, errorCode: number): Response;
}

/** Called with a decoded request before it is handled. An error code that it returns is the answer. */
export type RequestGate = (request: unknown) => Promise<number | undefined>;

/** An API as the connection uses it: request bytes in, a function that writes the response out. */
export interface Api {
  readonly key: number;
  readonly name: string;
  readonly minVersion: number;
  readonly maxVersion: number;
  readonly flexibleFrom: number;
  /** The request alone, for tests. Throws `MALFORMED_REQUEST`. */
  decode(reader: Reader, version: number): unknown;
  /** Throws (in the tick of the call) on undecodable bytes. */
  serve(
    reader: Reader,
    context: RequestContext,
    gate?: RequestGate,
  ): Promise<((writer: Writer) => void) | undefined>;
}

export function defineApi<Request, Response>(definition: ApiDefinition<Request, Response>): Api {
  const decode = (reader: Reader, version: number): Request => {
    const request = definition.decode(reader, version);
    reader.tags();
    return request;
  };
  const answer = async (
    request: Request,
    context: RequestContext,
    gate: RequestGate | undefined,
  ): Promise<Response | undefined> => {
    try {
      const forced = gate === undefined ? undefined : await gate(request);
      if (forced !== undefined) return definition.refuse(request, forced);
      return await definition.handle(request, context);
    } catch (error) {
      if (error instanceof ConnectionRefused) throw error;
      context.services.logger.error({ err: error, api: definition.name }, 'A Kafka request failed');
      return definition.refuse(
        request,
        isSystemError(error) ? ErrorCode.KAFKA_STORAGE_ERROR : ErrorCode.UNKNOWN_SERVER_ERROR,
      );
    }
  };
  return {
    key: definition.key,
    name: definition.name,
    minVersion: definition.minVersion,
    maxVersion: definition.maxVersion,
    flexibleFrom: definition.flexibleFrom ?? Infinity,
    decode,
    serve(reader, context, gate) {
      const request = decode(reader, context.version);
      return answer(request, context, gate).then((response) =>
        response === undefined
          ? undefined
          : (writer: Writer) => {
              definition.encode(writer, response, context.version);
              writer.tags();
            },
      );
    },
  };
}

/** Thrown by a {@link RequestGate} to drop the connection instead of answering. */
export class ConnectionRefused extends Error {}

/** Errors of the operating system (disk full, read-only, …) have an errno: the client may retry later. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'errno' in error;
}
