import type { describeRoute } from 'hono-openapi';
import { resolver } from 'hono-openapi';
import { z } from 'zod';
import { type ErrorCode, errorKinds, statusOf } from '../../platform/error-codes.js';

/** Part of an OpenAPI document. */
export type Json = Record<string, unknown>;

type Operation = Parameters<typeof describeRoute>[0];
export type Responses = NonNullable<Operation['responses']>;
type ResponseObject = Exclude<Responses[string], { $ref: string }>;
export type RequestBody = NonNullable<Operation['requestBody']>;
export type Parameter = NonNullable<Operation['parameters']>[number];

/** RFC 9457, as `toProblem` makes it. */
const problemSchema = z
  .object({
    type: z.string().meta({ format: 'uri' }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string().describe('Stable: branch on it.'),
    errors: z
      .array(z.object({ field: z.string(), problem: z.string() }))
      .optional()
      .describe('Every invalid field.'),
    event_id: z
      .string()
      .optional()
      .describe('Of an event that the log did not acknowledge. Send the event again with this id.'),
    trace_id: z.string().optional().describe('Of the request, while traces are recorded.'),
  })
  .meta({ description: 'RFC 9457 problem details.' });

const inferenceErrorSchema = z
  .object({ error: z.string(), code: z.string(), trace_id: z.string().optional() })
  .meta({ description: 'An error as the Open Inference Protocol has it, with the code of problem details.' });

/** Components that the failures below refer to. */
export const failureComponents: Readonly<Record<string, Json>> = {
  Problem: toJsonSchema(problemSchema),
  AimqProblem: {
    allOf: [
      { $ref: '#/components/schemas/Problem' },
      { type: 'object', required: ['error'], properties: { error: { type: 'string' } } },
    ],
  },
  InferenceError: toJsonSchema(inferenceErrorSchema),
};

/** The form of a route's error answers. */
interface FailureForm {
  component: keyof typeof failureComponents;
  mediaType: string;
  statusOf: (code: ErrorCode) => number;
}

const problemForm: FailureForm = {
  component: 'Problem',
  mediaType: 'application/problem+json',
  statusOf: (code) => statusOf(code),
};

/** AIMQ has no 422. */
const aimqForm: FailureForm = {
  component: 'AimqProblem',
  mediaType: 'application/problem+json',
  statusOf: (code) => (statusOf(code) === 422 ? 400 : statusOf(code)),
};

const inferenceForm: FailureForm = {
  component: 'InferenceError',
  mediaType: 'application/json',
  statusOf: (code) => statusOf(code),
};

/** Returns the error answers of an operation: one for each status, with its codes. */
export type Failures = (...codes: ErrorCode[]) => Responses;

export const problems: Failures = (...codes) => failures(problemForm, codes);
export const aimqProblems: Failures = (...codes) => failures(aimqForm, codes);
export const inferenceErrors: Failures = (...codes) => failures(inferenceForm, codes);

function failures(form: FailureForm, codes: readonly ErrorCode[]): Responses {
  const statuses = [...new Set(codes.map(form.statusOf))];
  return Object.fromEntries(
    statuses.map((status) => {
      const known = codes.filter((code) => form.statusOf(code) === status);
      const titles = new Set(known.map((code) => errorKinds[code].title ?? 'Temporarily unavailable'));
      const members = {
        code: { enum: known },
        ...(form === inferenceForm ? {} : { status: { const: status } }),
      };
      const schema: Json = { allOf: [ref(form.component), { type: 'object', properties: members }] };
      return [
        status,
        { description: `${[...titles].join('. ')}.`, content: { [form.mediaType]: { schema } } },
      ];
    }),
  );
}

/** Returns the answer of a status with problem details or, for a list without any effect, with a list. */
export function withList(responses: Responses, status: number, list: z.ZodType): Responses[string] {
  const { description, content } = responses[status] as ResponseObject;
  return { description, content: { ...content, 'application/json': { schema: resolver(list) } } };
}

/** Returns the answer of a status whose problem details may have additional members of a component. */
export function withMembers(responses: Responses, status: number, component: string): Responses[string] {
  const { description, content } = responses[status] as ResponseObject;
  return {
    description,
    content: Object.fromEntries(
      Object.entries(content ?? {}).map(([mediaType, { schema }]) => {
        const either: Json = { anyOf: [schema, { allOf: [schema, ref(component)] }] };
        return [mediaType, { schema: either }];
      }),
    ),
  };
}

/** Returns a reference to a component. */
export function ref(component: string): { $ref: string } {
  return { $ref: `#/components/schemas/${component}` };
}

/** Returns an answer in JSON. A schema with an id (`.meta({ id })`) becomes a component. */
export function answer(description: string, schema: z.ZodType): ResponseObject {
  return { description, content: { 'application/json': { schema: resolver(schema) } } };
}

/** Returns a body in JSON. */
export function jsonBody(schema: z.ZodType): RequestBody {
  return { required: true, content: { 'application/json': { schema: resolver(schema) } } };
}

export function pathParameter(name: string, description: string): Parameter {
  return { name, in: 'path', required: true, schema: { type: 'string' }, description };
}

export function headerParameter(name: string, description: string, schema: z.ZodType): Parameter {
  return { name, in: 'header', schema: toJsonSchema(schema), description };
}

/** A time in an answer, ISO 8601 in UTC. */
export const time = z.string().meta({ format: 'date-time' });

/** Returns the input of a schema, as JSON Schema 2020-12. */
export function toJsonSchema(schema: z.ZodType): Json {
  const {
    $schema: _,
    id: __,
    ...rest
  } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Json;
  return rest;
}

/** Codes of every route that reads a JSON body. */
export const bodyCodes = [
  'JSON_INVALID',
  'BODY_TOO_LARGE',
  'BODY_TIMEOUT',
  'CONTENT_TYPE_UNSUPPORTED',
] as const satisfies ErrorCode[];

/** Codes of every route that waits for the log. */
export const logCodes = [
  'LOG_UNAVAILABLE',
  'LOG_TIMEOUT',
  'LOG_BUSY',
  'LOG_UNAUTHORIZED',
  'REQUEST_TIMEOUT',
] as const satisfies ErrorCode[];

/** Codes of every route that writes events to the log. */
export const eventCodes = [
  'EVENT_INVALID',
  'EVENT_ID_CONFLICT',
  'RECORD_TOO_LARGE',
  'LOG_REFUSED',
  ...logCodes,
] as const satisfies ErrorCode[];

/** Codes of every route that scores events now. */
export const scoringCodes = [
  ...eventCodes,
  'FEATURES_INVALID',
  'MODEL_FAILED',
  'OUTPUT_INVALID',
  'MODEL_WORKER_DIED',
] as const satisfies ErrorCode[];
