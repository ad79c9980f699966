import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { SharedStore } from '../../platform/shared-store.js';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import { tlsOptions } from '../../platform/tls-settings.js';
import { attempt, type Diagnosis } from './diagnosis.js';

const minVersion = 6;

/**
 * Checks that Redis is reachable and accepts every command that Millrace sends. Deletes the key that it
 * writes.
 */
export async function checkRedis(diagnosis: Diagnosis, config: Config, url: string): Promise<void> {
  const notes = diagnosis.notes('redis');
  const tls = url.startsWith('rediss:') ? { tls: tlsOptions(config, 'REDIS') } : {};
  const redis = new Redis(url, {
    ...tls,
    connectionName: 'millrace-doctor',
    lazyConnect: true,
    // The ready check sends INFO, which this user may lack.
    enableReadyCheck: false,
    connectTimeout: 3_000,
    commandTimeout: 2_000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let problem: Error | undefined;
  redis.on('error', (error: Error) => (problem = error));
  const fix = 'Check that it runs and REDIS_URL is right: user, password, database, and rediss:// for TLS.';
  try {
    const isThere = await attempt(
      notes,
      { what: 'Cannot use Redis (each instance of `serve` continues without it)', fix },
      async () => {
        const startedAt = performance.now();
        await redis.connect().catch((error: unknown) => {
          throw problem ?? error;
        });
        await redis.ping();
        notes.ok(`Redis answers, connected in ${Math.round(performance.now() - startedAt)} ms`);
      },
    );
    if (!isThere) return;
    await checkClock(diagnosis, redis);
    await checkCommands(diagnosis, redis);
    await attempt(
      notes,
      { what: 'Redis denies INFO', fix: 'Allow the command INFO for this user.' },
      async () => {
        const info = parse(await redis.info());
        const version = info.get('redis_version') ?? '';
        if (Number(version.split('.')[0]) < minVersion)
          notes.error(`Redis ${version} is older than ${minVersion}`, 'Upgrade Redis.');
        else notes.ok(`Redis ${version}, ${info.get('used_memory_human')} in use`);
        if (info.get('role') === 'slave')
          notes.error('This Redis is a read-only replica', 'Set REDIS_URL to the primary.');
        if (info.get('maxmemory') !== '0' && info.get('maxmemory_policy') === 'noeviction')
          notes.warn(
            'Redis refuses writes when maxmemory is reached (noeviction)',
            'redis-cli config set maxmemory-policy volatile-ttl',
          );
      },
    );
  } finally {
    redis.disconnect();
  }
}

/** Only the doctor needs TIME, so a missing permission is a warning. */
async function checkClock(diagnosis: Diagnosis, redis: Redis): Promise<void> {
  try {
    const askedAt = Date.now();
    // The server returns strings, despite the types.
    const [seconds = 0, micros = 0] = (await redis.time()).map(Number);
    diagnosis.noteClock('Redis', seconds * 1000 + micros / 1000, { askedAt, answeredAt: Date.now() });
  } catch (error) {
    diagnosis
      .notes('redis')
      .warn(`Redis denies TIME: ${messageOf(error)}`, 'redis-cli acl setuser <user> +time');
  }
}

async function checkCommands(diagnosis: Diagnosis, redis: Redis): Promise<void> {
  const notes = diagnosis.notes('redis');
  const key = `${SharedStore.prefix}doctor:${randomUUID()}`;
  const commands: [name: string, run: () => Promise<unknown>][] = [
    ['SET', () => redis.set(key, '1', 'EX', 10)],
    ['MGET', () => redis.mget(key)],
    ['EVAL', () => redis.eval("return redis.call('get', KEYS[1])", 1, key)],
    ['INCRBY', () => redis.incrby(key, 1)],
    ['PTTL', () => redis.pttl(key)],
    ['DEL', () => redis.del(key)],
  ];
  let allowed = 0;
  for (const [name, run] of commands) {
    const fix =
      name === 'SET'
        ? 'Set REDIS_URL to a primary with free memory, and allow the user ~millrace:* +@read +@write +@scripting.'
        : 'redis-cli acl setuser <user> ~millrace:* +@read +@write +@scripting +info +time';
    if (
      await attempt(notes, { what: `Redis does not accept ${name}`, fix }, () => run().then(() => undefined))
    )
      allowed++;
  }
  if (allowed === commands.length) notes.ok('Redis accepts every command that Millrace sends');
}

function parse(info: string): Map<string, string> {
  return new Map(
    info.split('\r\n').flatMap((line) => {
      const at = line.indexOf(':');
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
    }),
  );
}
