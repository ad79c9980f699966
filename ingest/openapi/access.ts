import { accesses } from '../middleware/authorization.js';
import { type Json, problemAnswer } from './answers.js';

const security = [{ bearer: [] }, { api_key: [] }];

/** Adds to every operation that is not for everybody which scopes its key needs, and what is answered without. */
export function withAccess(paths: Json, keysRequired: boolean): Json {
  return Object.fromEntries(
    Object.entries(paths).map(([path, item]) => [
      path,
      Object.fromEntries(
        Object.entries(item as Json).map(([method, operation]) => {
          const access = accesses.find(
            (each) => each.method === method.toUpperCase() && isFor(each.path, path),
          );
          if (access === undefined) return [method, operation];
          return [method, guarded(operation as Json, access.scopes, keysRequired)];
        }),
      ),
    ]),
  );
}

function guarded(operation: Json, scopes: readonly string[], keysRequired: boolean): Json {
  const needs = `Where API keys are asked for: the scope ${scopes.map((scope) => `\`${scope}\``).join(' or ')}.`;
  return {
    ...operation,
    description: needs,
    security: keysRequired ? security : [{}, ...security],
    responses: {
      ...(operation['responses'] as Json),
      401: problemAnswer('No valid API key, where keys are asked for.'),
      403: problemAnswer('The API key is for other pipelines, or for other things.'),
    },
  };
}

/** Whether a route's pattern is the one of a described path, which may name a pipeline in the place of a parameter. */
function isFor(pattern: string, path: string): boolean {
  const [expected, actual] = [pattern.split('/'), path.split('/')];
  if (expected.length !== actual.length) return false;
  return expected.every((part, index) => part === actual[index] || part.startsWith(':'));
}
