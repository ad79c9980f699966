import { MillraceError } from '../../platform/errors.js';

/** What the log says of one event that it did not acknowledge. The others of its request may be written. */
export class NotWritten extends MillraceError {
  /** The event's own id, or the one that it got: sent again under it, it is there once. */
  readonly eventId: string;

  constructor({ code, message, retriable, misconfigured, cause }: MillraceError, eventId: string) {
    super(code, message, { retriable, misconfigured, cause });
    this.eventId = eventId;
  }
}
