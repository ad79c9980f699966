import type { Aim, Benchmark, Figure } from './benchmark.js';
import type { Machine } from './machine.js';
import type { Result } from './main.js';

export function printMachine(machine: Machine): void {
  for (const [name, value] of Object.entries(machine)) console.log(`${name.padEnd(8)}${value}`);
}

export function printResult({ name, figures }: Result, { question, method, caveats }: Benchmark): void {
  console.log(`\n## ${name}\n\n${question}\n\n${method}\n`);
  const rows = [['', 'median', 'lowest', 'highest', 'unit', 'aim', ''], ...figures.map(toRow)];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  rows.splice(
    1,
    0,
    widths.map((width) => '-'.repeat(width)),
  );
  for (const row of rows)
    console.log(`| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
  console.log(`\n${caveats.map((caveat) => `- ${caveat}`).join('\n')}`);
}

function toRow({ what, unit, median, low, high, aim }: Figure): string[] {
  const numbers = [median, low, high].map(short);
  return [
    what,
    ...numbers,
    unit,
    aim === undefined ? '' : describeAim(aim),
    aim === undefined ? '' : isMet(median, aim) ? 'met' : 'missed',
  ];
}

function short(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

function describeAim(aim: Aim): string {
  return 'atLeast' in aim ? `≥ ${short(aim.atLeast)}` : `≤ ${short(aim.atMost)}`;
}

function isMet(value: number, aim: Aim): boolean {
  return 'atLeast' in aim ? value >= aim.atLeast : value <= aim.atMost;
}
