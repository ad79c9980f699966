/* oxlint-disable typescript/no-unsafe-type-assertion -- parsed JSON and caught errors */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { schema as avroSchema } from 'avsc';

/** The routes of a registry that the serde uses, with their requests. */
export class TinyRegistry {
  readonly schemas: { schema: string; schemaType?: string }[] = [];
  readonly requests: string[] = [];
  readonly levels = new Map<string, string>();
  /** Answers instead of the registry's own. */
  broken: { status: number; body: string } | undefined;
  server: Server | undefined;
  url = '';

  async start(port = 0): Promise<void> {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.requests.push(`${request.method} ${request.url}`);
        const { status, body } =
          this.broken ?? this.#answer(request.url ?? '', Buffer.concat(chunks).toString());
        response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' }).end(body);
      });
    });
    const { server } = this;
    await new Promise<void>((resolve) => {
      server.listen(port, '127.0.0.1', resolve);
    });
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => {
      if (this.server) this.server.close(resolve);
    });
  }

  add(schema: object | string, schemaType?: string): number {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema);
    const known = this.schemas.findIndex((entry) => entry.schema === text);
    if (known >= 0) return known + 1;
    this.schemas.push(schemaType === undefined ? { schema: text } : { schema: text, schemaType });
    return this.schemas.length;
  }

  #answer(url: string, body: string): { status: number; body: string } {
    if (/^\/subjects\/[^/]+\/versions$/.test(url)) {
      const { schema } = JSON.parse(body) as { schema: string };
      if (schema.includes('"refused"')) return error(409, 409, 'Schema being registered is incompatible');
      if (schema.includes('"invalid"')) return error(422, 42201, 'Invalid schema');
      return { status: 200, body: JSON.stringify({ id: this.add(schema) }) };
    }
    const configured = /^\/config\/([^/]+)$/.exec(url)?.[1];
    if (configured !== undefined) {
      if (configured === 'refused-value' && body !== '') return error(403, 40301, 'not yours');
      if (body !== '')
        this.levels.set(configured, (JSON.parse(body) as { compatibility: string }).compatibility);
      const level = this.levels.get(configured);
      return level === undefined
        ? error(404, 40408, 'no level')
        : { status: 200, body: JSON.stringify({ compatibilityLevel: level }) };
    }
    const id = /^\/schemas\/ids\/(-?\d+)/.exec(url)?.[1];
    if (id !== undefined) {
      const entry = this.schemas[Number(id) - 1];
      return entry ? { status: 200, body: JSON.stringify(entry) } : error(404, 40403, 'Schema not found');
    }
    return error(404, 40401, 'Subject not found');
  }
}

function error(status: number, code: number, message: string): { status: number; body: string } {
  return { status, body: JSON.stringify({ error_code: code, message }) };
}

export const trip: avroSchema.RecordType = {
  type: 'record',
  name: 'Trip',
  doc: 'One ride.',
  fields: [
    { name: 'id', type: 'string', doc: 'Its name.' },
    { name: 'miles', type: ['null', 'double'], default: null },
    { name: 'started', type: 'long' },
  ],
};

/** A value as stored on the log: the id of its schema, then its bytes. */
export const wire = (id: number, body: number[] | Buffer): Buffer => {
  const header = Buffer.alloc(5);
  header.writeInt32BE(id, 1);
  return Buffer.concat([header, Buffer.from(body)]);
};

/** Error code of a failed call; `NONE` when it succeeded. */
export const codeOf = async (call: () => unknown): Promise<{ code: string; retriable: boolean }> => {
  try {
    await call();
  } catch (thrown) {
    const { code, retriable } = thrown as { code: string; retriable: boolean };
    return { code, retriable };
  }
  return { code: 'NONE', retriable: false };
};
