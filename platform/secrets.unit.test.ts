import { expect, it } from 'vitest';
import { forgetSecrets, keepBasicSecret, keepSecret, withoutCredentials, withoutSecrets } from './secrets.js';

it('leaves secrets out of texts in every form', () => {
  const secret = 'pa/ss+"wörd';
  keepSecret(secret);
  keepBasicSecret('ada', secret);
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const forms = [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    base64(secret),
    base64(`ada:${secret}`),
  ];
  for (const form of forms) expect(withoutSecrets(`<${form}>`)).toMatch(/^<\[secret\]=*>$/);
});

it('leaves any password out of a URL, known or not', () => {
  expect(withoutSecrets('at redis://ada:unknown%2F@host:1/0, then')).toBe(
    'at redis://ada:[secret]@host:1/0, then',
  );
  expect(withoutCredentials('https://ada:x@host:1/path')).toBe('https://host:1/path');
  expect(withoutCredentials('http://host:1')).toBe('http://host:1');
});

it('ignores secrets that are too short to be distinguished from words', () => {
  keepSecret('a');
  expect(withoutSecrets('a banana')).toBe('a banana');
});

it('forgets secrets, so that a test does not change the messages of the next', () => {
  keepSecret('canary');
  forgetSecrets();
  expect(withoutSecrets('a canary')).toBe('a canary');
});
