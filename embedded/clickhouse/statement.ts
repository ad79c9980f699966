import type { SqlSource } from '../../platform/sql-sources.js';
import { enginesOf } from './engine-config.js';
import { clickHouseError } from './http-errors.js';
import { binaryFormats } from './http-request.js';

/**
 * A statement in the canonical form of the engine's own parser: one line, no comments, uniform names and
 * strings.
 */
export interface Statement {
  /** By `formatQuerySingleLine`. Without the rows of an INSERT. */
  canonical: string;
  /** As {@link classes} of chDB. */
  class: number;
  /** Number of statements in the text. */
  count: number;
}

/**
 * `chdb_query_class` of chDB: read-only; changes a database; all others (SYSTEM, SET, KILL, INTO OUTFILE …).
 */
export const classes = { read: 0, write: 1, control: 3 };

const kinds =
  /^(?:\(|(?:SELECT|WITH|FROM|INSERT|CREATE|REPLACE|ALTER|DROP|UNDROP|TRUNCATE|OPTIMIZE|RENAME|EXCHANGE|DELETE|UPDATE|ATTACH|DETACH|SHOW|DESCRIBE|DESC|EXISTS|EXPLAIN|CHECK|KILL|USE|SET)\b)/;
const systemStatements = /^SYSTEM (?:FLUSH (?:LOGS|ASYNC INSERT QUEUE)|(?:STOP|START) MERGES)\b/;
const engines =
  /^(?:\w*MergeTree|Memory|Log|TinyLog|StripeLog|Null|Set|Join|Buffer|Merge|View|MaterializedView|Alias|GenerateRandom|Atomic|Ordinary)$/;
/**
 * Table functions that read nothing but parse columns from text, which may contain expressions (`a String
 * ALIAS f()`). The engine accepts the first two in any case.
 */
const structured = /^(?:[vV][aA][lL][uU][eE][sS]|[fF][oO][rR][mM][aA][tT]|input|null|generateRandom)$/;
/** The function `file`, even by its name only, as in `arrayMap(file, …)` and `APPLY(file)`. */
const readsFile =
  /(?:^| )file \(|\bAPPLY (?:\( )*file\b|\b(?:array|map)\w* \( (?:\( )*(?:file\b|\{ \w+ : Identifier\b)/i;
const expressionInColumns = /ALIAS|DEFAULT|MATERIALIZED|EPHEMERAL/i;

/**
 * Refuses statements with access outside the engine that the engine's grants don't cover: what the client
 * part of chDB does itself (INTO OUTFILE, FROM INFILE), the function `file`, disks and databases on other
 * folders. Unknown kinds of statements and engines are refused.
 *
 * Also refuses statements that would only seem to work: temporary tables, and rows that are not text.
 *
 * @throws ClickHouse's error 497 (ACCESS_DENIED), 164 (READONLY), 48 (NOT_IMPLEMENTED) or 62 for a second
 *   statement.
 */
export function refuseStatement(
  statement: Statement,
  options: { readOnly: boolean; sources: readonly SqlSource[] },
): void {
  const { canonical, count } = statement;
  if (count !== 1)
    throw clickHouseError(62, 'SYNTAX_ERROR', 'Syntax error: Multi-statements are not allowed');
  const tokens = tokensOf(canonical);
  const text = tokens.map((token) => (token.startsWith("'") ? "''" : token)).join(' ');
  if (!kinds.test(text) && !systemStatements.test(text)) throw denied(`${firstWords(text)} is not served`);
  if (/^(?:CREATE|REPLACE|ATTACH)(?: OR REPLACE)? TEMPORARY\b/.test(text))
    throw notServed('A temporary table would be gone with its request: make a table in a database');
  const rowsFormat = formatOfRows(canonical);
  // Some of their bytes are text too, so that the same insert would work or fail depending on its values.
  if (rowsFormat !== undefined && binaryFormats.test(rowsFormat))
    throw notServed(
      `Rows in the format ${rowsFormat} are not text: insert them as JSONEachRow, CSV or TabSeparated ` +
        '(clickhouse-connect: raw_insert)',
    );
  if (/ INTO OUTFILE ''/.test(text)) throw denied('INTO OUTFILE would write a file');
  if (/^INSERT .* FROM INFILE ''/.test(text)) throw denied('FROM INFILE would read a file');
  if (/^ATTACH .* FROM ''/.test(text)) throw denied('ATTACH … FROM would move files');
  if (options.readOnly && statement.class !== classes.read && !/^(?:USE|SET) /.test(text)) {
    throw clickHouseError(164, 'READONLY', `Cannot execute ${firstWords(text)} in readonly mode; use POST`);
  }
  const mayRead = options.sources.includes('FILE');
  if (readsFile.test(text) && !mayRead) {
    throw denied('The function file would read a file (name a column of that name with its table)');
  }
  if (/(?:^| )executable \(/i.test(text)) throw denied('The function executable would run a command');
  if (/(?:^| )disk \(/i.test(text)) throw denied('A disk of its own could be any folder');
  const allowed = new Set(options.sources.flatMap((source) => enginesOf(source)));
  for (const [, engine = ''] of text.matchAll(/\bENGINE = (\S*)/g)) {
    if (!engines.test(engine) && !allowed.has(engine)) throw denied(`The engine ${engine} is not served`);
  }
  if (!mayRead) refuseExpressionsInText(tokens);
  refuseExplosion(tokens);
}

const maxExpansion = 4096;
const maxNestedLambdas = 20;

/**
 * Lambdas are expanded before the limits of memory and time apply: once per call of a named one, so that `x
 * -> f(f(x)) AS g, x -> g(g(x)) AS h …` doubles with each name, and within each enclosing lambda.
 */
function refuseExplosion(tokens: readonly string[]): void {
  if (!tokens.includes('->')) return;
  const open: number[] = [];
  let depth = 0;
  for (const token of tokens) {
    if (token === '(' || token === '[') depth++;
    if (token === ')' || token === ']') depth--;
    while ((open.at(-1) ?? 0) > depth) open.pop();
    if (token === '->' && open.push(depth) > maxNestedLambdas)
      throw clickHouseError(167, 'TOO_DEEP_AST', `More than ${maxNestedLambdas} lambdas within each other`);
  }
  const calls = new Map<string, number>();
  for (const [index, token] of tokens.entries())
    if (token === 'AS' && tokens[index + 1] !== undefined) calls.set(tokens[index + 1] ?? '', 0);
  for (const [index, token] of tokens.entries()) {
    const before = calls.get(token);
    if (before !== undefined && tokens[index + 1] === '(') calls.set(token, before + 1);
  }
  const expansion = [...calls.values()].reduce((product, count) => product * Math.max(count, 1), 1);
  if (expansion > maxExpansion)
    throw clickHouseError(168, 'TOO_BIG_AST', 'Lambdas that call each other make this statement too big');
}

/** Whether a statement only lists or ends running queries, so that it must not wait behind them. */
export function isAboutQueries(canonical: string): boolean {
  return (
    /^(?:KILL QUERY|SHOW PROCESSLIST)\b/.test(canonical) ||
    /^SELECT (?:(?!\b(?:FROM|JOIN)\b).)* FROM (?:system\.)?processes(?:$| (?:WHERE|ORDER|LIMIT|FORMAT|GROUP)\b(?!.* (?:FROM|JOIN|SETTINGS|IN) ))/.test(
      canonical,
    )
  );
}

/** Returns the format of the rows that follow an INSERT; none when a query follows instead. */
export function formatOfRows(canonical: string): string | undefined {
  return /^INSERT (?!.*\b(?:SELECT|FROM|WITH|WATCH|TABLE FUNCTION)\b).* FORMAT (\w+)$/.exec(canonical)?.[1];
}

/**
 * Whether rows of VALUES could contain an expression that reads a file: rows are expressions, and not in the
 * canonical text.
 *
 * @param sql - the original text.
 */
export function mayReadFiles(sql: string): boolean {
  const rows = sql.slice(Math.max(0, sql.search(/\bformat\b|values/i)));
  const outsideStrings = rows.replaceAll(/'(?:\\.|[^'\\])*'/gs, "''");
  // With a comment, a heredoc or other quotes, strings may begin and end elsewhere than this code assumes.
  return /[^\t\n\r -~]|[`"$#]|--|\/\*|file|executable|\bselect\b|\bfrom\b/i.test(outsideStrings);
}

/** Strings keep their quotes; quoted names lose them if they are plain words. */
function tokensOf(canonical: string): string[] {
  const tokens = canonical.match(/'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|\w+|->|[^\s\w]/gs) ?? [];
  return tokens.map((token) => (/^`\w+`$/.test(token) ? token.slice(1, -1) : token));
}

/** Column lists in text are constants without expressions, so nothing can be hidden in them. */
function refuseExpressionsInText(tokens: readonly string[]): void {
  for (const [index, name] of tokens.entries()) {
    if (!structured.test(name) || tokens[index + 1] !== '(') continue;
    const isFormat = /^format$/i.test(name);
    // The function `format('{} {}', a, b)`, not the table function `format(CSV, …)`.
    if (isFormat && /^'.*\{/s.test(tokens[index + 2] ?? '')) continue;
    let depth = 0;
    for (const [offset, token] of tokens.slice(index + 1).entries()) {
      if (token === '(') depth++;
      if (token === ')' && --depth === 0) break;
      const isConstant = /^(?:NULL|true|false|\d\w*|[^\w'`{]|'.*')$/s.test(token);
      const isFormatName = isFormat && offset === 1;
      const isHarmless = isFormatName ? !/^'?values'?$/i.test(token) : isConstant;
      if (isHarmless && !expressionInColumns.test(token)) continue;
      throw denied(`The table function ${name} takes only constants here, and columns without expressions`);
    }
  }
}

function firstWords(text: string): string {
  return text.split(' ').slice(0, 2).join(' ');
}

function notServed(text: string): Error {
  return clickHouseError(48, 'NOT_IMPLEMENTED', text);
}

function denied(text: string): Error {
  return clickHouseError(497, 'ACCESS_DENIED', `${text}. The embedded engine serves its own tables only`);
}
