import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';

const files = readdirSync(packageRoot)
  .filter((name) => !['.git', '.millrace', 'dist', 'node_modules'].includes(name))
  .flatMap((name) => [
    name,
    ...(isFolder(name)
      ? readdirSync(join(packageRoot, name), { recursive: true, encoding: 'utf8' }).map((file) =>
          join(name, file),
        )
      : []),
  ])
  .filter((file) => !file.includes('node_modules'));
const read = (file: string): string => readFileSync(join(packageRoot, file), 'utf8');

test('messages that docs/operations.md names are in the code', () => {
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const code = sources.map(read).join('\n');
  const messages = [...read('docs/operations.md').matchAll(/(?:grep|says)\s+`([^`]+)`/g)].map(
    ([, message = '']) => message,
  );
  expect(messages.length).toBeGreaterThan(5);
  expect(messages.filter((message) => !code.includes(message.replaceAll(/\s+/g, ' ')))).toEqual([]);
});

test('links between documents have a file and a heading', () => {
  const documents = files.filter((file) => file.endsWith('.md'));
  const links = documents.flatMap((from) =>
    [...read(from).matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, path = '', anchor]) => ({
      from,
      to: path === '' ? from : join(dirname(from), path),
      anchor,
    })),
  );
  expect(links.length).toBeGreaterThan(50);
  const isBroken = ({ to, anchor }: (typeof links)[number]): boolean => {
    if (!files.includes(to.replace(/\/$/, ''))) return true;
    return anchor !== undefined && to.endsWith('.md') && !anchorsOf(read(to)).has(anchor);
  };
  expect(links.filter(isBroken)).toEqual([]);
});

test('source files that documents name exist', () => {
  const documents = files.filter((file) => file.endsWith('.md') && file !== 'CHANGELOG.md');
  const named = documents.flatMap((from) =>
    [...read(from).matchAll(/`((?:[\w-]+\/)+[\w.-]+\.(?:ts|mjs))`/g)].map(([, to = '']) => ({ from, to })),
  );
  expect(named.length).toBeGreaterThan(50);
  expect(
    named.filter(
      ({ from, to }) =>
        !files.includes(to) && !files.includes(join(dirname(from), to)) && !isOfReader(from, to),
    ),
  ).toEqual([]);
});

/** A file that the reader of a guide creates: its content follows the name. */
function isOfReader(from: string, to: string): boolean {
  return new RegExp(`\`${to.replaceAll('.', '\\.')}\`:?\\n\\n\`\`\``).test(read(from));
}

function isFolder(name: string): boolean {
  return statSync(join(packageRoot, name)).isDirectory();
}

/** Anchors, as GitHub derives them from headings. */
function anchorsOf(markdown: string): Set<string> {
  const headings = markdown.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
