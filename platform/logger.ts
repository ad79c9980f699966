import { mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { pino, type Logger } from 'pino';
import { messageOf } from './errors.js';
import { withoutSecrets } from './secrets.js';

export type { Logger };

const maxFileBytes = 20 * 1024 * 1024;

/** Members that always hold a secret, at the top of a log line's data and one and two levels below. */
const secretMembers = [
  'password',
  'secret',
  'token',
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
].flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]);

/**
 * Structured logs as JSON lines. A line that can't be written, on a full disk for example, is lost; the first
 * is reported on standard error. It never ends the process. Secrets are left out, by the name of a member and
 * by value.
 *
 * @param level - pino's level; `silent` writes nothing.
 * @param file - its path. Default: standard error, so that standard output stays for people.
 * @throws the system's error when the file can't be opened.
 */
export function createLogger(level: string, file?: string): Logger {
  const stream = file === undefined ? process.stderr : openFile(file);
  return pino(
    {
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secretMembers, censor: '[secret]' },
      hooks: { streamWrite: withoutSecrets },
    },
    stream,
  );
}

/**
 * Limits the size of a log: a file of more than 20 MB is renamed to `<file>.1`, replacing the previous one.
 * Must be called at the start, before any process has the file open.
 *
 * @param limit - bytes; for tests.
 */
export function rotateLog(file: string, limit = maxFileBytes): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > limit) renameSync(file, `${file}.1`);
}

/** A logger that writes nothing, for callers without one. */
export const silentLogger: Logger = pino({ level: 'silent' });

/** Replaces pino's own file stream, whose flush at the end of the process retries for ever on a full disk. */
function openFile(file: string): { write(line: string): void } {
  mkdirSync(dirname(file), { recursive: true });
  const descriptor = openSync(file, 'a');
  let reported = false;
  return {
    write(line) {
      try {
        writeSync(descriptor, line);
      } catch (error) {
        if (reported) return;
        reported = true;
        process.stderr.write(`The log ${file} can't be written: ${messageOf(error)}. Going on without it.\n`);
      }
    },
  };
}
