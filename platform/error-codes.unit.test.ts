import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { errorCodes, errorKinds, isErrorCode, statusOf } from './error-codes.js';
import { MillraceError } from './errors.js';
import { packageRoot } from './paths.js';
import { problemOf, toProblem } from './problem.js';

test('each code with a status has a title', () => {
  for (const code of errorCodes) {
    const { status, title } = errorKinds[code];
    expect([code, title !== undefined]).toEqual([code, status !== undefined]);
  }
});

test('an error is retriable as its code is, unless it says otherwise', () => {
  expect(new MillraceError('LOG_BUSY', '').retriable).toBe(true);
  expect(new MillraceError('LOG_BUSY', '', { retriable: false }).retriable).toBe(false);
  expect(new MillraceError('LOG_CLOSED', '').retriable).toBe(false);
  expect(new MillraceError('LOG_CLOSED', '', { retriable: true }).retriable).toBe(true);
});

test('a code without a status is 503 where the error is retriable, else 500', () => {
  expect(statusOf('LOG_BUSY')).toBe(503);
  expect(statusOf('LOG_CLOSED')).toBe(500);
  expect(toProblem(new MillraceError('LOG_CLOSED', '', { retriable: true })).status).toBe(503);
  const codesWithStatus = (status: number) => errorCodes.filter((code) => statusOf(code) === status);
  expect(codesWithStatus(503)).toEqual(expect.arrayContaining(['LOG_BUSY', 'LOG_UNAUTHORIZED']));
  expect(codesWithStatus(409)).toEqual(['JOB_NOT_DONE', 'JOB_FAILED', 'MODEL_CONFLICT']);
});

test('an unknown code of a newer version is an internal error, and keeps its name', () => {
  expect([isErrorCode('MADE_UP'), isErrorCode('toString')]).toEqual([false, false]);
  expect(problemOf('MADE_UP', 'it is new')).toEqual({
    type: 'urn:millrace:problem:made-up',
    title: 'Internal error',
    status: 500,
    detail: 'it is new',
    code: 'MADE_UP',
  });
});

test('an unexpected error reveals nothing to a client', () => {
  expect(toProblem(new TypeError('secret'))).toMatchObject({
    status: 500,
    code: 'INTERNAL',
    detail: 'Something went wrong on our side. The log has the details.',
  });
});

/** Files other than sources of the product: they may use codes that nothing else uses. */
const notSource = new Set(['node_modules', 'dist', 'tests', 'benchmarks', 'examples', 'testing']);

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory())
      return notSource.has(entry.name) || entry.name.startsWith('.') ? [] : sources(path);
    const isSource = /(?<!\.test|error-codes)\.ts$/.test(entry.name);
    return isSource ? [readFileSync(path, 'utf8')] : [];
  });
}

test('each code is used', () => {
  const source = sources(packageRoot).join('\n');
  expect(errorCodes.filter((code) => !source.includes(`'${code}'`))).toEqual([]);
});
