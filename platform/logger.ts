import { pino, type Logger } from 'pino';

export type { Logger };

/**
 * Structured logs as JSON lines.
 *
 * @param level - pino's level; `silent` writes nothing.
 * @param destination - a file's path, or a file descriptor. Default: standard error, so that standard output stays for people.
 */
export function createLogger(level: string, destination: string | number = 2): Logger {
  return pino(
    { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: destination, sync: false, mkdir: true }),
  );
}

/** A logger that writes nothing, for callers that pass none. */
export const silentLogger: Logger = pino({ level: 'silent' });
