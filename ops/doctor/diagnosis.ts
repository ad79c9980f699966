import { messageOf } from '../../platform/errors.js';
import { withoutSecrets } from '../../platform/secrets.js';

export type Severity = 'ok' | 'warning' | 'error';

export type Area =
  | 'settings'
  | 'pipelines'
  | 'log'
  | 'topics'
  | 'groups'
  | 'permissions'
  | 'registry'
  | 'clickhouse'
  | 'redis'
  | 'rabbitmq'
  | 'models'
  | 'disk'
  | 'clocks'
  | 'system';

/** Result of one check. */
export interface Finding {
  /** `error`: something fails, or will lose data or stop. `warning`: works, but needs attention. */
  severity: Severity;
  area: Area;
  what: string;
  /** Command to run or setting to change. Null for `ok`. */
  fix: string | null;
}

/** Adds findings to one area. */
export interface Notes {
  ok(what: string): void;
  warn(what: string, fix: string): void;
  error(what: string, fix: string): void;
}

/** A larger difference of clocks makes reported times unreliable. Tenfold, tokens and certificates fail. */
const skewMs = 1_000;

/** All findings. */
export class Diagnosis {
  readonly findings: Finding[] = [];

  notes(area: Area): Notes {
    const add = (severity: Severity, what: string, fix: string | null): void => {
      this.findings.push({
        severity,
        area,
        what: withoutSecrets(what),
        fix: fix === null ? null : withoutSecrets(fix),
      });
    };
    return {
      ok: (what) => add('ok', what, null),
      warn: (what, fix) => add('warning', what, fix),
      error: (what, fix) => add('error', what, fix),
    };
  }

  /** Compares a clock with this machine's. @param resolutionMs - resolution of the other clock's answer. */
  noteClock(name: string, theirs: number, { askedAt, answeredAt }: Asked, resolutionMs = 1): void {
    // Half the round trip, and half the resolution: a truncated time is that late on average.
    const doubt = (answeredAt - askedAt) / 2 + resolutionMs / 2;
    const ahead = Math.round(theirs + (resolutionMs > 1 ? resolutionMs / 2 : 0) - (askedAt + answeredAt) / 2);
    this.noteSkew(`${name}’s clock`, 'this machine’s', ahead, doubt);
  }

  noteSkew(one: string, other: string, aheadMs: number, doubtMs: number): void {
    const notes = this.notes('clocks');
    const by = `${one} is ${Math.abs(aheadMs)} ms ${aheadMs < 0 ? 'behind' : 'ahead of'} ${other} (± ${Math.ceil(doubtMs)} ms)`;
    if (Math.abs(aheadMs) - doubtMs <= skewMs) notes.ok(by);
    else
      notes.warn(
        by,
        'Run an NTP client on both machines: `timedatectl set-ntp true`, then `timedatectl timesync-status`.',
      );
  }
}

/** Times of a request and its response, milliseconds since 1970. */
export interface Asked {
  askedAt: number;
  answeredAt: number;
}

/**
 * Runs one check and reports an error or a timeout as a finding. Never throws.
 *
 * @param fix - fix to report if the check fails.
 * @returns whether the check completed.
 */
export async function attempt(
  notes: Notes,
  { what, fix, timeoutMs = 5_000 }: { what: string; fix: string; timeoutMs?: number },
  check: () => Promise<void> | void,
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timedOut = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    await Promise.race([Promise.resolve().then(check), timedOut]);
    return true;
  } catch (error) {
    notes.error(`${what}: ${messageOf(error)}`, fix);
    return false;
  } finally {
    clearTimeout(timer);
  }
}
