import { isScalar, isCollection, isMap, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { didYouMean } from './closest-name.js';
import type { ErrorCode } from './error-codes.js';
import { MillraceError, messageOf } from './errors.js';

/** A part of a JSON file: names of members and positions in arrays. */
export type JsonPath = readonly PropertyKey[];

/** A problem of a part of a JSON file, in words. */
export interface JsonProblem {
  path: JsonPath;
  message: string;
}

/** Maximum number of problems in one message. */
const maxProblems = 20;

/**
 * Content of a JSON file that people write. Its errors name file, line and member:
 * `…/pipeline.json:7: inputs.age: …`.
 */
export class JsonFile {
  readonly file: string;
  readonly value: unknown;
  readonly #code: ErrorCode;
  readonly #text: string;
  #positions: { root: Node | null; lines: LineCounter } | undefined;

  /**
   * @param text - the content of `file`. `file` is used only in errors.
   * @param code - of its errors.
   * @throws MillraceError if it is not JSON, with the line.
   */
  constructor(text: string, file: string, code: ErrorCode) {
    this.file = file;
    this.#code = code;
    this.#text = text;
    try {
      this.value = JSON.parse(text);
    } catch (error) {
      const line = lineOfSyntaxError(text);
      throw new MillraceError(code, `${file}:${line}: not JSON: ${messageOf(error)}.`, { cause: error });
    }
  }

  /**
   * Returns the value as a schema's type.
   *
   * @throws MillraceError that names each part that does not fit.
   */
  check<T>(schema: z.ZodType<T>): T {
    const result = schema.safeParse(this.value);
    if (result.success) return result.data;
    throw this.error(result.error.issues.flatMap((issue) => problemsOf(issue, schema)));
  }

  /** Returns an error about parts of the file. */
  error(problems: readonly JsonProblem[]): MillraceError {
    const told = problems.slice(0, maxProblems).map(({ path, message }) => {
      const member = path.length === 0 ? '' : `${path.map(String).join('.')}: `;
      return `${this.file}:${this.lineOf(path)}: ${member}${message}`;
    });
    if (problems.length > maxProblems) told.push(`and ${problems.length - maxProblems} more`);
    return new MillraceError(this.#code, told.join('\n'));
  }

  /** Returns the line of a member, from 1. For one that is not there: of what should have it. */
  lineOf(path: JsonPath): number {
    this.#positions ??= findPositions(this.#text);
    const { root, lines } = this.#positions;
    return lines.linePos(positionOf(root, path)).line || 1;
  }
}

function findPositions(text: string): { root: Node | null; lines: LineCounter } {
  const lines = new LineCounter();
  // JSON is YAML; what is wrong as YAML has no bearing here.
  const { contents } = parseDocument(text, { lineCounter: lines, version: '1.2', logLevel: 'silent' });
  return { root: contents, lines };
}

function positionOf(root: Node | null, path: JsonPath): number {
  let at = root;
  let position = root?.range?.[0] ?? 0;
  for (const step of path) {
    if (!isCollection(at)) return position;
    const pair = isMap(at)
      ? at.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
      : undefined;
    const next = (pair?.value ?? at.get(step, true)) as Node | undefined;
    const start = ((pair?.key ?? next) as Node | undefined)?.range?.[0];
    if (start === undefined) return position;
    position = start;
    at = next ?? null;
  }
  return position;
}

function problemsOf(issue: z.core.$ZodIssue, schema: z.ZodType): JsonProblem[] {
  if (issue.code !== 'unrecognized_keys') return [{ path: issue.path, message: `${issue.message}.` }];
  return issue.keys.map((key) => {
    const known = membersAt(schema, issue.path);
    const hint = didYouMean(key, known) || (known.length === 0 ? '' : ` There are: ${known.join(', ')}.`);
    return { path: [...issue.path, key], message: `there is no such member.${hint}` };
  });
}

/** Returns the members that a schema has at a path, as far as it can be seen. */
function membersAt(schema: z.ZodType, path: JsonPath): string[] {
  let at: unknown = schema;
  for (const step of path) at = shapeOf(at)?.[String(step)];
  return Object.keys(shapeOf(at) ?? {});
}

function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  const { shape, unwrap } = (schema ?? {}) as { shape?: Record<string, unknown>; unwrap?: () => unknown };
  if (shape !== undefined) return shape;
  return unwrap === undefined ? undefined : shapeOf(unwrap.call(schema));
}

/** Returns the line, from 1, of what makes a text no JSON. */
export function lineOfSyntaxError(text: string): number {
  let [valid, broken] = [0, text.length + 1];
  while (broken - valid > 1) {
    const middle = (valid + broken) >> 1;
    if (canBeContinued(text.slice(0, middle))) valid = middle;
    else broken = middle;
  }
  return text.slice(0, valid).split('\n').length;
}

/**
 * Whether a text is the start of JSON. Not every message of V8 has the position, but those about the end
 * have.
 */
function canBeContinued(start: string): boolean {
  try {
    JSON.parse(start);
    return true;
  } catch (error) {
    const message = messageOf(error);
    if (message.startsWith('Unexpected end')) return true;
    return Number(/at position (\d+)/.exec(message)?.[1]) >= start.length;
  }
}
