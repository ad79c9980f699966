import { createHash } from 'node:crypto';

/** An event as its sender knows it. */
export interface SentEvent {
  id: string;
  pipeline: string;
  /** Key of its record; the id if the sender gave none. */
  key: string;
  /** Its fields; empty for an unreadable event. */
  fields: object;
  /** Reason of its expected dead letter; none if it should be scored. */
  reason?: string;
  /** Whether a client was told that it is on the log. */
  accepted: boolean;
}

/** The answer of `predict`. */
export interface Answer {
  event_id: string;
  prediction_id: string;
  score: number;
}

/** The events that the clients of one run sent, and the answers they got. */
export class Ledger {
  readonly events = new Map<string, SentEvent>();
  readonly answers: Answer[] = [];
  /** Ids in the order in which one client sent events of one key, by pipeline and key. */
  readonly sequences = new Map<string, string[]>();
  /** Unanswered events without their own id: their number, by content. */
  readonly unanswered = new Map<string, number>();
  /** Answers that no fault excuses. */
  readonly problems: string[] = [];
  accepted = 0;
  /** Requests that were retried after a temporary refusal or no answer. */
  repeatedRequests = 0;
  /** Events that were sent again under an earlier id. */
  repeatedEvents = 0;
  /** Events that were refused, and may be nowhere. */
  refused = 0;

  /** Notes an event before it is sent. */
  send(event: Omit<SentEvent, 'accepted'>): SentEvent {
    const known = this.events.get(event.id);
    if (known !== undefined) {
      this.repeatedEvents++;
      return known;
    }
    const sent = { ...event, accepted: false };
    this.events.set(event.id, sent);
    return sent;
  }

  accept(event: SentEvent): void {
    if (event.accepted) return;
    event.accepted = true;
    this.accepted++;
  }

  /** Notes events that were sent in this order under a key. */
  follows(pipeline: string, key: string, id: string): void {
    const name = `${pipeline} ${key}`;
    const sequence = this.sequences.get(name);
    if (sequence === undefined) this.sequences.set(name, [id]);
    else sequence.push(id);
  }

  /** Notes an event without an id whose request got no answer: it may be on the log, under an unknown id. */
  noAnswer(pipeline: string, fields: object): void {
    const print = fingerprint(pipeline, fields);
    this.unanswered.set(print, (this.unanswered.get(print) ?? 0) + 1);
  }
}

/** Returns a name for the fields of an event, whatever their order. */
export function fingerprint(pipeline: string, fields: object): string {
  const sorted = Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha1').update(pipeline).update(JSON.stringify(sorted)).digest('base64');
}
