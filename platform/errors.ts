import { type ErrorCode, errorKinds } from './error-codes.js';

export interface MillraceErrorOptions {
  /** Whether the same call can succeed later with nothing changed but time. Default: as its code is in the table. */
  retriable?: boolean;
  /**
   * Whether a setting, a password or a certificate is at fault. At the start there is no use in trying again then; a process that runs goes
   * on trying, since it may be put right on the other side. Default `false`.
   */
  misconfigured?: boolean;
  cause?: unknown;
}

/**
 * The one base class of errors that Millrace throws on purpose. Each layer translates what its libraries throw
 * once, into this. What its code means is in the table of `error-codes.ts`.
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

  /** What its problem details have beside the members that all have. */
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

/** The message of whatever was thrown, without the full stop at its end: it goes into a sentence. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message
    .replaceAll(openSsl, '$1')
    .trim()
    .replace(/(?<!\.)\.$/, '');
}
