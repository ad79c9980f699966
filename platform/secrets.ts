import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf } from './errors.js';

/** Settings whose whole value is secret, or the password in a URL. */
const secretSettings = [
  'KAFKA_SASL_PASSWORD',
  'SCHEMA_REGISTRY_PASSWORD',
  'CLICKHOUSE_PASSWORD',
  'RABBITMQ_URL',
  'REDIS_URL',
  'MILLRACE_API_KEY',
] as const;
/** Secret too, but without a `_FILE` setting. */
const otherSecrets = [
  'API_KEYS',
  'SCHEMA_REGISTRY_URL',
  'CLICKHOUSE_URL',
  'MILLRACE_URL',
  'MLFLOW_TRACKING_TOKEN',
  'MLFLOW_TRACKING_PASSWORD',
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_TRACES_HEADERS',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
] as const;

type SecretFile = `${(typeof secretSettings)[number]}_FILE`;

/** Whether a setting's value is secret, or may contain a password. */
export function isSecret(name: string): boolean {
  return [...secretSettings, ...otherSecrets].some((each) => each === name);
}

/** `<NAME>_FILE` for each secret setting, as secrets are mounted into containers. */
export const secretFileVariables = Object.fromEntries(
  secretSettings.map((name) => [
    `${name}_FILE`,
    z.string().optional().describe(`File that contains ${name}, in place of that setting.`),
  ]),
) as Record<SecretFile, z.ZodOptional<z.ZodString>>;

type Environment = Record<string, string | undefined>;

/**
 * Returns the environment with the content of `<NAME>_FILE` settings as `<NAME>`; a final line end is left
 * out. From now on {@link withoutSecrets} knows all secrets in it.
 *
 * @returns also the problems of these settings.
 */
export function readSecrets(environment: Environment): { environment: Environment; problems: string[] } {
  const complete = { ...environment };
  const problems: string[] = [];
  for (const name of secretSettings) {
    const file = environment[`${name}_FILE`];
    if (file === undefined) continue;
    if (environment[name] !== undefined) problems.push(`${name} and ${name}_FILE are both set: set one`);
    try {
      complete[name] = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
      if (complete[name].trim() === '') problems.push(`${name}_FILE is ${JSON.stringify(file)}: it is empty`);
    } catch (error) {
      problems.push(`${name}_FILE can't be read: ${messageOf(error)}`);
    }
  }
  for (const name of [...secretSettings, ...otherSecrets]) keepSecret(...secretsIn(name, complete[name]));
  return { environment: complete, problems };
}

function secretsIn(name: string, value: string | undefined): string[] {
  if (value === undefined) return [];
  if (/_(?:URL|ENDPOINT)$/.test(name)) return secretsOfUrl(value);
  if (name === 'API_KEYS') return value.split(',').map((key) => key.trim());
  if (name.endsWith('_HEADERS'))
    return value.split(',').map((pair) => pair.slice(pair.indexOf('=') + 1).trim());
  return [value];
}

/** Returns the part between user and host, raw and decoded; also of an invalid URL. */
function secretsOfUrl(url: string): string[] {
  const [, user = '', password = ''] = /^[a-z+]+:\/\/([^:@/]*):(.*)@/i.exec(url) ?? [];
  if (password === '') return [];
  return [password, decoded(password), basic(decoded(user), decoded(password))];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function basic(user: string, password: string): string {
  return Buffer.from(`${user}:${password}`).toString('base64');
}

/** A shorter one would be found in the middle of words. */
const minSecret = 4;
const known = new Set<string>();
let pattern: RegExp | undefined;

/** Makes {@link withoutSecrets} leave out these values, also URL-encoded, in base64, and within JSON. */
export function keepSecret(...values: readonly string[]): void {
  for (const value of values.filter(({ length }) => length >= minSecret)) {
    known.add(value);
    known.add(encodeURIComponent(value));
    known.add(JSON.stringify(value).slice(1, -1));
    known.add(Buffer.from(value).toString('base64').replace(/=+$/, ''));
    known.add(Buffer.from(value).toString('base64url'));
  }
  const byLengthDescending = [...known].toSorted((a, b) => b.length - a.length);
  pattern = known.size === 0 ? undefined : new RegExp(byLengthDescending.map(escaped).join('|'), 'g');
}

/** Returns what {@link withoutSecrets} leaves out, for `keepSecret` in another thread. */
export function knownSecrets(): string[] {
  return [...known];
}

/** Adds a user's password for Basic authentication, whose header encodes it differently. */
export function keepBasicSecret(user: string, password: string): void {
  if (password.length >= minSecret) keepSecret(password, basic(user, password));
}

/** Forgets all secrets that {@link withoutSecrets} knows, for tests. */
export function forgetSecrets(): void {
  known.clear();
  pattern = undefined;
}

/** Returns text for a log, an answer or a terminal, without known secrets and passwords in URLs. */
export function withoutSecrets(text: string): string {
  const clean = pattern === undefined ? text : text.replace(pattern, '[secret]');
  return clean.includes('://')
    ? clean.replaceAll(/(\w:\/\/[^\s:@/"']*):[^\s@/"']+@/g, '$1:[secret]@')
    : clean;
}

/** Returns a URL without user and password, for files and for people. */
export function withoutCredentials(url: string): string {
  if (!URL.canParse(url)) return withoutSecrets(url);
  const clean = new URL(url);
  if (clean.username === '' && clean.password === '') return url;
  clean.username = '';
  clean.password = '';
  return clean.href.replace(/\/$/, url.endsWith('/') ? '/' : '');
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}
