/** Part of an OpenAPI document. */
export type Json = Record<string, unknown>;

export const string = { type: 'string' };

/** What any route with a body may answer beside success. */
export const problemAnswers = {
  400: problemAnswer('Broken JSON.'),
  401: problemAnswer('No valid API key, where keys are set.'),
  404: problemAnswer('No such pipeline.'),
  413: problemAnswer('Body over the limit.'),
  415: problemAnswer('A content type that is not read here.'),
  422: problemAnswer('No event fits its contract. Every wrong field is named.'),
  429: problemAnswer('More than this client may ask for. `Retry-After` says when to come back.'),
  503: problemAnswer('Log or model can’t be reached now. Try again.'),
};

export function answer(description: string, schema: Json): Json {
  return { description, content: json(schema) };
}

export function problemAnswer(description: string): Json {
  return {
    description,
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  };
}

export function json(schema: Json): Json {
  return { 'application/json': { schema } };
}
