import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { describeRabbitMq, RabbitMq } from '../../tests/system/engines/rabbitmq-server.js';
import { runsAll } from '../../tests/system/size.js';
import { checkRabbitMq } from './check-rabbitmq.js';
import { Diagnosis } from './diagnosis.js';

const secret = 'never-to-be-shown';

// Starts its own RabbitMQ, so it runs only with the larger suites.
describe.runIf(runsAll)('in the doctor', () => {
  describeRabbitMq('RabbitMQ', () => {
    let rabbitMq: RabbitMq;
    let management: URL;

    beforeAll(async () => {
      rabbitMq = await RabbitMq.start();
      management = new URL(rabbitMq.managementUrl);
    });
    afterAll(() => rabbitMq.stop());

    async function api(method: string, path: string, body?: object): Promise<unknown> {
      const authorization = `Basic ${Buffer.from(`${management.username}:${management.password}`).toString('base64')}`;
      const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
      const headers = { authorization, 'content-type': 'application/json' };
      const text = await (await fetch(`http://${management.host}/api/${path}`, { ...init, headers })).text();
      return text === '' ? undefined : JSON.parse(text);
    }

    async function names(what: 'queues' | 'exchanges'): Promise<string[]> {
      const all = (await api('GET', what)) as { name: string }[];
      return all.map(({ name }) => name).filter((name) => name !== '' && !name.startsWith('amq.'));
    }

    async function check(user: string, password: string): Promise<string[]> {
      const url = rabbitMq.url.replace('guest:guest', `${user}:${password}`);
      const diagnosis = new Diagnosis();
      await checkRabbitMq(diagnosis, loadConfig({ RABBITMQ_URL: url }), url);
      return diagnosis.findings.map(({ severity, what }) => `${severity} ${what}`);
    }

    it('reports denied permissions and existing queues, and leaves nothing behind', async () => {
      await api('PUT', 'exchanges/%2F/millrace.predictions', { type: 'topic', durable: true });
      await api('PUT', 'queues/%2F/alicpp_records', { durable: true });
      await api('PUT', 'users/limited', { password: secret, tags: '' });
      await api('PUT', 'permissions/%2F/limited', { configure: '^$', write: '^$', read: '.*' });
      const limited = await check('limited', secret);
      for (const text of [
        'to declare queues',
        'to declare exchanges',
        'to write to the exchange millrace.predictions',
      ])
        expect(limited.some((found) => found.startsWith(`error RabbitMQ does not allow ${text}`))).toBe(true);
      expect(limited.join()).toContain(
        'The queue alicpp_records has 0 messages ready and 0 consumers: no consumer reads it',
      );
      const guest = await check('guest', 'guest');
      expect(guest.filter((found) => found.startsWith('error'))).toEqual([]);
      expect(guest).toContainEqual(
        expect.stringMatching(/^ok RabbitMQ grants the permissions of the bridge/),
      );
      expect(await names('queues')).toEqual(['alicpp_records']);
      expect(await names('exchanges')).toEqual(['millrace.predictions']);
    });

    it('reports queues that drop messages or have no consumer, and changes none', async () => {
      const limited = { 'x-queue-type': 'quorum', 'x-delivery-limit': 3 };
      await api('PUT', 'queues/%2F/limited', { durable: true, arguments: limited });
      await api('PUT', 'queues/%2F/short', { durable: true, arguments: { 'x-max-length': 5 } });
      await api('PUT', 'queues/%2F/stream', { durable: true, arguments: { 'x-queue-type': 'stream' } });
      await api('PUT', 'queues/%2F/scores', { durable: true });
      const message = { properties: {}, routing_key: 'scores', payload: '{}', payload_encoding: 'string' };
      await api('POST', 'exchanges/%2F/amq.default/publish', message);
      const diagnosis = new Diagnosis();
      const RABBITMQ_QUEUES = ['limited', 'short', 'stream'].map((queue) => `${queue}=credit-default`).join();
      const config = loadConfig({
        RABBITMQ_URL: rabbitMq.url,
        RABBITMQ_QUEUES,
        RABBITMQ_RESULTS_QUEUES: 'scores',
      });
      await checkRabbitMq(diagnosis, config, rabbitMq.url);
      const found = diagnosis.findings.map(({ severity, what }) => `${severity} ${what}`).join('\n');
      expect(found).toMatch(
        /warn.* RabbitMQ drops messages of the queue limited after more than 3 deliveries/,
      );
      expect(found).toMatch(/warn.* The queue short has a length limit/);
      expect(found).toMatch(/ok The stream stream exists/);
      expect(found).toMatch(
        /warn.* The queue scores has 1 messages ready and 0 consumers: no consumer reads these results/,
      );
      for (const queue of ['limited', 'short', 'stream', 'scores'])
        await api('DELETE', `queues/%2F/${queue}`);
    });

    it('reports a refused login without the password', async () => {
      const [found = ''] = await check('guest', secret);
      expect(found).toContain('Login was refused');
      expect(found).not.toContain(secret);
    });
  });
});
