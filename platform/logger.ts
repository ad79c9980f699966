import { mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { pino, type Logger } from 'pino';
import { messageOf } from './errors.js';

export type { Logger };

const maxFileBytes = 20 * 1024 * 1024;

/**
 * Structured logs as JSON lines. A line that can't be written, on a full disk for example, is lost; the first is
 * reported on standard error. It never ends the process.
 *
 * @param level - pino's level; `silent` writes nothing.
 * @param destination - a file's path, or a file descriptor. Default: standard error, so that standard output stays for people.
 * @throws the system's error when the file can't be opened.
 */
export function createLogger(level: string, destination: string | number = 2): Logger {
  const descriptor = typeof destination === 'string' ? openFile(destination) : destination;
  let reported = false;
  // In place of pino's own stream, whose flush at the end of the process tries a full disk again for ever.
  const stream = {
    write(line: string): void {
      const error = tryWrite(descriptor, line);
      if (error === undefined || reported) return;
      reported = true;
      tryWrite(2, `The log ${destination} can't be written: ${messageOf(error)}. Going on without it.\n`);
    },
  };
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}

/**
 * Keeps a log from growing for ever: a file of more than 20 MB is renamed to `<file>.1`, in place of the one before.
 * To be called at the start, before anyone has the file open.
 *
 * @param limit - bytes; for tests.
 */
export function rotateLog(file: string, limit = maxFileBytes): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > limit) renameSync(file, `${file}.1`);
}

/** A logger that writes nothing, for callers that pass none. */
export const silentLogger: Logger = pino({ level: 'silent' });

function openFile(file: string): number {
  mkdirSync(dirname(file), { recursive: true });
  return openSync(file, 'a');
}

/** @returns what went wrong. */
function tryWrite(descriptor: number, text: string): unknown {
  try {
    writeSync(descriptor, text);
    return undefined;
  } catch (error) {
    return error;
  }
}
