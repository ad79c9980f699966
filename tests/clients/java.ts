import { join } from 'node:path';
import type { Command } from './program.js';

/** A small JVM that starts quickly; a main class, or a source file to compile and run, comes next. */
export function javaCommand(jars: string): Command {
  return [
    'java',
    ...['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    ...['-cp', join(jars, '*')],
  ];
}
