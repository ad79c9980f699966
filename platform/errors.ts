import { type ErrorCode, errorKinds } from './error-codes.js';

export interface MillraceErrorOptions {
  /** Whether time alone can make the same call succeed later. Default: as for its code in the table. */
  retriable?: boolean;
  /**
   * Whether a setting, a password or a certificate is at fault. Then a retry at the start is useless; a
   * running process retries, since the other side may be corrected. Default `false`.
   */
  misconfigured?: boolean;
  cause?: unknown;
}

/**
 * The one base class of errors that Millrace throws on purpose. Each layer translates the errors of its
 * libraries once, into this. The table in `error-codes.ts` explains its code.
 */
export class MillraceError extends Error {
  /** Stable, safe to branch on and to show to clients (for example `MODEL_REFUSED`). */
  readonly code: ErrorCode;
  readonly retriable: boolean;
  readonly misconfigured: boolean;

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MillraceError';
    this.code = code;
    this.retriable = options.retriable ?? errorKinds[code].retriable ?? false;
    this.misconfigured = options.misconfigured ?? false;
  }

  /** Additional members of its problem details. */
  get members(): object {
    return {};
  }
}

/** Whether the operating system refused a call with one of these codes, such as `ENOENT`. */
export function isSystemError(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** OpenSSL's own errors: `thread:error:number:library:function:reason:file:line:more`. */
const openSsl = /[0-9A-F]+:error:[0-9A-F]+:[^:]*:[^:]*:([^:]+):[^:]*:\d+:[^\n)]*\n?/g;

/** Returns the message of any thrown value, without the full stop at its end, for use in a sentence. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message
    .replaceAll(openSsl, '$1')
    .trim()
    .replace(/(?<!\.)\.$/, '');
}
