import { describe, expect, test } from 'vitest';
import { codecs } from './codecs.js';

const text = 'Millrace scores events while they stream. '.repeat(40);

/** Output of the codecs' reference libraries for `text`. */
const samples: [string, keyof typeof codecs, string][] = [
  [
    'snappy block',
    'Snappy',
    'kA2oTWlsbHJhY2Ugc2NvcmVzIGV2ZW50cyB3aGlsZSB0aGV5IHN0cmVhbS4gTf4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAP4qAJIqAA==',
  ],
  [
    'snappy framed by Java',
    'Snappy',
    'glNOQVBQWQAAAAABAAAAAQAAAFXIBqhNaWxscmFjZSBzY29yZXMgZXZlbnRzIHdoaWxlIHRoZXkgc3RyZWFtLiBN/ioA/ioA/ioA/ioA/ioA/ioA/ioA/ioA/ioA/ioA/ioA/ioAcioAAAAAVcgGqE1pbGxyYWNlIHNjb3JlcyBldmVudHMgd2hpbGUgdGhleSBzdHJlYW0uIE3+KgD+KgD+KgD+KgD+KgD+KgD+KgD+KgD+KgD+KgD+KgD+KgByKgA=',
  ],
  [
    'LZ4, independent blocks',
    'LZ4',
    'BCJNGGBAgjsAAAD/G01pbGxyYWNlIHNjb3JlcyBldmVudHMgd2hpbGUgdGhleSBzdHJlYW0uICoA////////VFBlYW0uIAAAAAA=',
  ],
  [
    'LZ4, linked blocks with checksums',
    'LZ4',
    'BCJNGHxAkAYAAAAAAADnOwAAAP8bTWlsbHJhY2Ugc2NvcmVzIGV2ZW50cyB3aGlsZSB0aGV5IHN0cmVhbS4gKgD///////9UUGVhbS4gngSWygAAAABsDGB6',
  ],
  ['zstd', 'ZSTD', 'KLUv/WCQBZ0BAKQCTWlsbHJhY2Ugc2NvcmVzIGV2ZW50cyB3aGlsZSB0aGV5IHN0cmVhbS4gAQAas/2qDA=='],
  [
    'zstd, streamed',
    'ZSTD',
    'KLUv/QAInQEApAJNaWxscmFjZSBzY29yZXMgZXZlbnRzIHdoaWxlIHRoZXkgc3RyZWFtLiABABqz/aoM',
  ],
];

describe('codecs', () => {
  test.each(samples)('%s is read', async (_name, codec, sample) => {
    expect((await codecs[codec]().decompress(Buffer.from(sample, 'base64'))).toString()).toBe(text);
  });

  test.each(samples)('truncated or invalid %s is an error', async (_name, codec, sample) => {
    const bytes = Buffer.from(sample, 'base64');
    const cut = codecs[codec]().decompress(bytes.subarray(0, bytes.length >> 1));
    await expect(cut.then((read) => read.toString())).rejects.toMatchObject({ code: 'CODEC_FAILED' });
    await expect(codecs[codec]().decompress(Buffer.from('no such codec'))).rejects.toMatchObject({
      code: 'CODEC_FAILED',
    });
  });
});
