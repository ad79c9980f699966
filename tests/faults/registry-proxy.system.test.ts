import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { freePorts } from '../system/programs.js';
import { RegistryProxy, registryTroubles } from './registry-proxy.js';

const registry = createServer((_, answer) => answer.writeHead(200).end('{"schema":"\\"int\\""}'));
let proxy: RegistryProxy;
let client: SchemaRegistryClient;

beforeEach(async () => {
  registry.listen(0, '127.0.0.1');
  await once(registry, 'listening');
  const { port } = await freePorts('port');
  proxy = await RegistryProxy.start({ port, target: (registry.address() as AddressInfo).port });
  client = new SchemaRegistryClient({ url: `http://127.0.0.1:${port}`, timeoutMs: 1_000 });
});

afterEach(async () => {
  await proxy.stop();
  await new Promise((resolve) => registry.close(resolve));
});

it.each(registryTroubles)('%s counts as an outage until it ends', async (trouble) => {
  expect(await client.schema(1)).toMatchObject({ schema: '"int"' });
  proxy.trouble = trouble;
  await expect(client.schema(1)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', retriable: true });
  expect(proxy.failed).toBe(1);
  proxy.heal();
  expect(await client.schema(1)).toMatchObject({ schema: '"int"' });
});
