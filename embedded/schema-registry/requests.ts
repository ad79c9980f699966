import type { Context } from 'hono';
import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { parseSchema } from './avro.js';
import type { SchemaVersion } from './log.js';
import type { Registry } from './registry.js';
import type { VersionFilter } from './state.js';

const schemaBody = z.object({
  schema: z.string(),
  schemaType: z.string().nullish(),
  references: z.array(z.unknown()).nullish(),
  id: z.int().positive().nullish(),
  version: z.int().positive().nullish(),
});

export interface SchemaRequest {
  schema: string;
  id: number | undefined;
  version: number | undefined;
}

export async function readJson(context: Context): Promise<unknown> {
  const bytes = await context.req.arrayBuffer();
  try {
    // Invalid UTF-8 would be replaced, and another schema be registered than the sent one.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new MillraceError('BAD_REQUEST', `The request body is no JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Reads the schema in a request's body, checked to be valid Avro. */
export async function readSchema(context: Context): Promise<SchemaRequest> {
  const parsed = schemaBody.safeParse(await readJson(context));
  if (!parsed.success) {
    throw new MillraceError('INVALID_SCHEMA', `Invalid schema: ${z.prettifyError(parsed.error)}`);
  }
  const { schema, schemaType, references, id, version } = parsed.data;
  if ((schemaType ?? 'AVRO') !== 'AVRO') {
    const message = `Invalid schema type ${schemaType}: the embedded registry takes AVRO only. Set SCHEMA_REGISTRY_URL to a registry that has it.`;
    throw new MillraceError('INVALID_SCHEMA', message);
  }
  if ((references ?? []).length > 0) {
    const message =
      'Invalid schema: the embedded registry has no schema references; put the referenced types into it.';
    throw new MillraceError('INVALID_SCHEMA', message);
  }
  parseSchema(schema);
  return { schema, id: id ?? undefined, version: version ?? undefined };
}

export function isSet(context: Context, parameter: string): boolean {
  return context.req.query(parameter) === 'true';
}

export function filterOf(context: Context): VersionFilter {
  return { deleted: isSet(context, 'deleted') };
}

/** Returns the subject of the path; `null`, for all, if the path has none. */
export function subjectOf(context: Context): string | null {
  return context.req.param('subject') ?? null;
}

export function isLatest(version: string): boolean {
  return version === 'latest' || version === '-1';
}

/** Returns the version in the path. */
export function versionOf(
  registry: Registry,
  context: Context,
  deleted = isSet(context, 'deleted'),
): SchemaVersion {
  const { subject = '', version = '' } = context.req.param();
  if (!isLatest(version) && !/^[1-9]\d{0,9}$/.test(version)) {
    const message = `The specified version '${version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`;
    throw new MillraceError('INVALID_VERSION', message);
  }
  const active = registry.state.versions(subject);
  const versions = deleted ? registry.state.versions(subject, { deleted }) : active;
  if (versions.length === 0) throw subjectNotFound(subject);
  const found = isLatest(version) ? active.at(-1) : versions.find((one) => one.version === Number(version));
  if (found === undefined) throw new MillraceError('VERSION_NOT_FOUND', `Version ${version} not found.`);
  return found;
}

/** Returns the versions with the id of the path, including soft-deleted ones only when requested. */
export function versionsWithId(registry: Registry, context: Context): SchemaVersion[] {
  schemaWithId(registry, context);
  const versions = registry.state.withId(Number(context.req.param('id')));
  return isSet(context, 'deleted') ? versions : versions.filter((version) => !version.deleted);
}

/** Soft-deleted ones too: there may be messages written with it. */
export function schemaWithId(registry: Registry, context: Context): SchemaVersion {
  const id = context.req.param('id') ?? '';
  const found = registry.state.withId(Number(id))[0];
  if (found === undefined) throw new MillraceError('SCHEMA_NOT_FOUND', `Schema ${id} not found`);
  return found;
}

export function subjectNotFound(subject: string): MillraceError {
  return new MillraceError('SUBJECT_NOT_FOUND', `Subject '${subject}' not found.`);
}
