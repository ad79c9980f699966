import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

type Json = Record<string, unknown>;

interface Operation {
  responses: Record<string, { content?: Record<string, { schema?: Json }> }>;
}

export interface Document extends Json {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json> };
}

/** Checks answers against an OpenAPI document. An undocumented member is an error too. */
export class OpenApiValidator {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly #paths: Document['paths'];
  readonly #components: Document['components'];
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(document: Document) {
    addFormats.default(this.#ajv);
    const { paths, components } = closed(document) as Document;
    this.#paths = paths;
    this.#components = components;
  }

  /** `GET /path/{name}` of every operation, in order. */
  get operations(): string[] {
    return Object.entries(this.#paths)
      .flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`))
      .toSorted();
  }

  /**
   * Returns the errors of an answer to an operation (`GET /path/{name}`); empty when it conforms to the
   * document.
   */
  async check(operation: string, response: Response): Promise<string[]> {
    const [method = '', path = ''] = operation.split(' ');
    const described = this.#paths[path]?.[method.toLowerCase()]?.responses[String(response.status)];
    const text = await response.clone().text();
    if (described === undefined) return [`the status ${response.status} is not documented: ${text}`];
    const mediaType = response.headers.get('content-type')?.split(';')[0] ?? '';
    const content = described.content?.[mediaType] ?? described.content?.['*/*'];
    if (content?.schema === undefined)
      return [`${mediaType} is not documented with the status ${response.status}: ${text}`];
    if (!mediaType.endsWith('json')) return [];
    const validate = this.#compile(`${operation} ${response.status} ${mediaType}`, content.schema);
    validate(JSON.parse(text));
    return (validate.errors ?? []).map(
      ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
    );
  }

  #compile(name: string, schema: Json): ValidateFunction {
    const known = this.#compiled.get(name);
    if (known !== undefined) return known;
    const validate = this.#ajv.compile({
      ...schema,
      components: this.#components,
      unevaluatedProperties: false,
    });
    this.#compiled.set(name, validate);
    return validate;
  }
}

/**
 * Returns the document with closed objects in lists and members: the top of an answer may be composed of
 * several.
 */
function closed(part: unknown, isMember = false): unknown {
  if (Array.isArray(part)) return part.map((each) => closed(each));
  if (typeof part !== 'object' || part === null) return part;
  const copy = Object.fromEntries(
    Object.entries(part).map(([name, value]) => [
      name,
      name === 'properties'
        ? Object.fromEntries(Object.entries(value as Json).map(([key, each]) => [key, closed(each, true)]))
        : closed(value, name === 'items'),
    ]),
  );
  const isObject = ['properties', '$ref', 'allOf', 'anyOf', 'oneOf'].some((name) => name in copy);
  if (!isMember || !isObject || 'additionalProperties' in copy) return copy;
  return { ...copy, unevaluatedProperties: false };
}
