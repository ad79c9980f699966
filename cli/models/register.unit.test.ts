import { expect, it } from 'vitest';
import type { RegisteredAnswer } from './api.js';
import { describeRegistered } from './register.js';

const answer = { model: 'm', version: '2', digest: 'ab12cd34ef56ab12', existed: false } as RegisteredAnswer;

it('says that a version is registered, and what to do next', () => {
  const text = describeRegistered({ ...answer, sample_events: 32 });
  expect(text).toMatch(/^Registered m 2 \(ab12cd34ef56\)\. To serve it, run millrace models challenge m 2/);
});

it('says when no sample events were tried', () => {
  expect(describeRegistered({ ...answer, sample_events: 0 })).toMatch(/No sample events were tried/);
  expect(describeRegistered({ ...answer, existed: true, sample_events: null })).toMatch(/already registered/);
});
