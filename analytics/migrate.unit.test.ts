import { expect, test } from 'vitest';
import { splitStatements } from './migrate.js';

test('splits a migration at semicolons that end a line, and removes comments', () => {
  const text =
    "-- first; second\nCREATE TABLE a (b String COMMENT 'x;y');\n\n  -- note\nSELECT 1;  \nSELECT ';'\n, 2;\n";
  expect(splitStatements(text)).toEqual([
    "CREATE TABLE a (b String COMMENT 'x;y')",
    'SELECT 1',
    "SELECT ';'\n, 2",
  ]);
});

test('accepts a last statement without a semicolon', () => {
  expect(splitStatements('SELECT 1')).toEqual(['SELECT 1']);
});
