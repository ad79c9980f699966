import { printable } from '../dead-letters/printable.js';
import { toTable } from '../table.js';
import type { AuditReport } from './report.js';

/** Formats a report as text. */
export function describeReport({ partitions, findings, found, deep, unfinished }: AuditReport): string {
  const header = [
    'TOPIC',
    'PARTITION',
    'OFFSETS',
    'RECORDS',
    'ROWS',
    'REPEATS',
    'IN FLIGHT',
    'MISSING',
    'DOUBLED',
    'STRAY',
  ];
  const all = partitions.toSorted((a, b) => a.topic.localeCompare(b.topic) || a.partition - b.partition);
  const used = all.filter(({ from, to, in_flight: inFlight }) => to > from || inFlight > 0);
  const rows = used.map((each) => [
    each.topic,
    String(each.partition),
    `${each.from}–${each.to}`,
    ...[each.records, each.rows, each.repeats, each.in_flight, each.missing, each.doubled, each.stray].map(
      String,
    ),
  ]);
  const names = findings.map(
    ({ kind, topic, partition, offset, event_id: id, detail }) =>
      `${kind}: ${topic}/${partition}/${offset}${id === null ? '' : ` (event ${id})`} ${detail}`,
  );
  const rest =
    found > findings.length ? [`… and ${found - findings.length} more. Use --limit to list more.`] : [];
  return [
    toTable([header, ...rows].map((row) => row.map(printable))),
    ...(names.length === 0 ? [] : ['', ...names.map(printable), ...rest]),
    '',
    ...unfinished.map((what) => `Not processed or compared: ${printable(what)}.`),
    conclusion(found, deep, unfinished.length > 0),
  ].join('\n');
}

function conclusion(found: number, deep: boolean, isUnfinished: boolean): string {
  if (found > 0) return `${found} finding${found === 1 ? '' : 's'}.`;
  const what = deep
    ? 'Every event has one prediction or dead letter on the log, and each of these has its row.'
    : 'Every event and outcome has its row. Predictions and dead letters on the log were not read: use --deep.';
  if (isUnfinished) return 'No findings, but the comparison is incomplete: see above.';
  return `Clean. ${what}`;
}
