export interface MillraceErrorOptions {
  /** Whether the same call can succeed later with nothing changed but time. Default `false`. */
  retriable?: boolean;
  cause?: unknown;
}

/**
 * The one base class of errors that Millrace throws on purpose. Each layer translates what its libraries throw
 * once, into this; HTTP statuses are chosen only in `ingest/`.
 */
export class MillraceError extends Error {
  /** Stable, upper snake case, safe to branch on and to show to clients (for example `MODEL_REFUSED`). */
  readonly code: string;
  readonly retriable: boolean;

  constructor(code: string, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MillraceError';
    this.code = code;
    this.retriable = options.retriable ?? false;
  }
}

/** The message of whatever was thrown, without the full stop at its end: it goes into a sentence. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/(?<!\.)\.$/, '');
}
