import { type Logger, silentLogger } from '../../platform/logger.js';

/** A logger that passes on every line. */
export function listening(
  hear: (level: 'info' | 'warn' | 'error', details: object, message: string) => void,
): Logger {
  const logger = Object.create(silentLogger) as Logger;
  for (const level of ['info', 'warn', 'error'] as const)
    logger[level] = (details: unknown, message?: unknown) => {
      if (typeof details === 'string') hear(level, {}, details);
      else hear(level, Object(details) as object, String(message));
    };
  logger.child = () => logger as never;
  return logger;
}
