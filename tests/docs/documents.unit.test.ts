import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../../platform/paths.js';

const files = readdirSync(projectRoot)
  .filter((name) => !['.git', '.millrace', 'dist', 'node_modules'].includes(name))
  .flatMap((name) => [
    name,
    ...(isFolder(name)
      ? readdirSync(join(projectRoot, name), { recursive: true, encoding: 'utf8' }).map((file) =>
          join(name, file),
        )
      : []),
  ])
  .filter((file) => !file.includes('node_modules'));
const read = (file: string): string => readFileSync(join(projectRoot, file), 'utf8');

test('log lines that docs/operations.md says to grep are in the code', () => {
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const code = sources.map(read).join('\n');
  const lines = [...read('docs/operations.md').matchAll(/grep\s+`([^`]+)`/g)].map(([, line = '']) => line);
  expect(lines.length).toBeGreaterThan(5);
  expect(lines.filter((line) => !code.includes(line.replaceAll(/\s+/g, ' ')))).toEqual([]);
});

test('links from one document to another have a file and a heading', () => {
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

function isFolder(name: string): boolean {
  return statSync(join(projectRoot, name)).isDirectory();
}

/** As GitHub makes them of headings. */
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
