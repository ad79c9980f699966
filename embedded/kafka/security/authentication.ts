import { ErrorCode } from '../protocol/error-codes.js';
import type { SaslStep } from './exchange.js';
import { plain } from './plain.js';
import { scram } from './scram.js';
import type { Users } from './users.js';

export type SaslMechanism = 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';

export const saslMechanisms: readonly SaslMechanism[] = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'];

/** The users of the broker, and the mechanisms of their login. */
export interface Sasl {
  users: Users;
  mechanisms: readonly SaslMechanism[];
}

export interface TokenAnswer {
  errorCode: number;
  message: string | null;
  bytes: Buffer;
}

/** The login state of one connection. Without SASL settings there is no login. */
export class Authentication {
  /** Whether the connection may send anything. */
  done: boolean;
  /** After this, only the answer that reports the failure is sent. */
  hasFailed = false;
  /** After SaslHandshake 0 tokens are frames, not requests (as before KIP-152). */
  expectsRawToken = false;
  readonly #sasl: Sasl | undefined;
  #step: SaslStep | undefined;

  constructor(sasl: Sasl | undefined) {
    this.#sasl = sasl;
    this.done = sasl === undefined;
  }

  get mechanisms(): readonly SaslMechanism[] {
    return this.#sasl?.mechanisms ?? [];
  }

  /** Sets the client's mechanism. */
  begin(name: string, rawTokens: boolean): number {
    if (this.#sasl === undefined || this.done || this.#step !== undefined)
      return ErrorCode.ILLEGAL_SASL_STATE;
    const mechanism = this.#sasl.mechanisms.find((each) => each === name);
    if (mechanism === undefined) return ErrorCode.UNSUPPORTED_SASL_MECHANISM;
    this.#step = firstStep(mechanism, this.#sasl.users);
    this.expectsRawToken = rawTokens;
    return ErrorCode.NONE;
  }

  /** Processes the client's next token. */
  async next(token: Buffer): Promise<TokenAnswer> {
    const step = this.#step;
    if (step === undefined || this.done)
      return refused(ErrorCode.ILLEGAL_SASL_STATE, 'Send SaslHandshake first.');
    const progress = await step(token);
    if (progress.kind === 'failed') {
      this.hasFailed = true;
      return refused(
        ErrorCode.SASL_AUTHENTICATION_FAILED,
        'Authentication failed: wrong user name or password.',
      );
    }
    this.#step = progress.kind === 'continue' ? progress.next : undefined;
    this.done = progress.kind === 'authenticated';
    if (this.done) this.expectsRawToken = false;
    return { errorCode: ErrorCode.NONE, message: null, bytes: progress.answer };
  }
}

function firstStep(mechanism: SaslMechanism, users: Users): SaslStep {
  if (mechanism === 'PLAIN') return plain(users);
  return scram(users, mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512');
}

function refused(errorCode: number, message: string): TokenAnswer {
  return { errorCode, message, bytes: Buffer.alloc(0) };
}
