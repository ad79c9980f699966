import { describe, expect, it } from 'vitest';
import { decodeProperties, readPropertiesOf, undecodedHeader } from './message-properties.js';

const bytes = (...parts: (string | number[])[]): Buffer =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))),
  );

function long(tag: string, value: bigint): Buffer {
  const buffer = Buffer.alloc(9);
  buffer.write(tag, 'latin1');
  buffer.writeBigInt64BE(value, 1);
  return buffer;
}

function sized(tag: string, content: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(content.length);
  return Buffer.concat([Buffer.from(tag), size, content]);
}

function field(name: string, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([Buffer.byteLength(name)]), Buffer.from(name), value]);
}

function headersOf(...fields: Buffer[]): Record<string, unknown> {
  const table = Buffer.concat(fields);
  const payload = Buffer.concat([Buffer.from([0x20, 0]), sized('', table)]);
  return decodeProperties(payload).headers as Record<string, unknown>;
}

describe('properties of a message', () => {
  it.each([
    ['L', 1_769_795_100_000n, 1_769_795_100_000],
    ['L', -5n, -5],
    ['l', 2n ** 53n - 1n, 2 ** 53 - 1],
    ['L', 2n ** 63n - 1n, { '!': 'int64', value: '9223372036854775807' }],
    ['l', -(2n ** 63n), { '!': 'int64', value: '-9223372036854775808' }],
    ['T', -1n, { '!': 'timestamp', value: '18446744073709551615' }],
  ])('may have the integer %s %s', (tag, value, expected) => {
    expect(headersOf(field('at', long(tag, value)))).toEqual({ at: expected });
  });

  it('keep bytes that are no text, doubles that look like integers, and decimals', () => {
    const nan = bytes('d', [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
    expect(
      headersOf(
        field('text', sized('S', Buffer.from('Grün'))),
        field('bytes', sized('S', Buffer.from([0, 0xff]))),
        field('nan', nan),
        field('half', bytes('d', [0x3f, 0xe0, 0, 0, 0, 0, 0, 0])),
        field('price', bytes('D', [2, 0, 0, 0x30, 0x39])),
        field('none', bytes('V')),
      ),
    ).toEqual({
      text: 'Grün',
      bytes: Buffer.from([0, 0xff]),
      nan: { '!': 'double', value: Number.NaN },
      half: 0.5,
      price: { '!': 'decimal', value: { places: 2, digits: 12_345 } },
      none: null,
    });
  });

  it('may be nested', () => {
    const inner = field(
      'list',
      sized('A', Buffer.concat([bytes('b', [0xff]), sized('F', field('deep', long('L', 7n)))])),
    );
    expect(headersOf(field('table', sized('F', inner)))).toEqual({ table: { list: [-1, { deep: 7 }] } });
    const trap = field('!', sized('S', Buffer.from('nothing')));
    expect(headersOf(field('table', sized('F', trap)))).toEqual({
      table: { '!': 'object', value: { '!': 'nothing' } },
    });
  });

  it('keep the bytes of unreadable fields', () => {
    const unknown = field('what', bytes('z', [1, 2, 3]));
    expect(headersOf(field('good', bytes('t', [1])), unknown)).toEqual({
      good: true,
      [undecodedHeader]: unknown,
    });
    let deep = sized('A', Buffer.alloc(0));
    for (let depth = 0; depth < 5_000; depth++) deep = sized('A', deep);
    expect(headersOf(field('deep', deep))).toEqual({ [undecodedHeader]: field('deep', deep) });
  });

  it('have names that can be sent again, including names that JavaScript reserves', () => {
    const grows = Buffer.concat([Buffer.from([255]), Buffer.alloc(255, 0xff), bytes('t', [1])]);
    const [name = ''] = Object.keys(headersOf(grows));
    expect(Buffer.byteLength(name)).toBeLessThan(256);
    expect(Object.entries(headersOf(field('__proto__', bytes('t', [1]))))).toEqual([['__proto__', true]]);
  });

  it('besides headers are texts, numbers and a time', () => {
    const payload = bytes([0x1c, 0x40, 2, 9, 2], 'id', [0, 0, 0, 0, 0, 0, 0, 5]);
    expect(decodeProperties(payload)).toEqual({
      deliveryMode: 2,
      priority: 9,
      correlationId: 'id',
      timestamp: 5,
    });
  });

  it('are read only for a client that parses frames in the known way', () => {
    expect(() => readPropertiesOf({})).toThrow('amqplib');
  });
});
