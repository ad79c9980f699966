import { Command } from 'commander';
import { printable } from '../ops/dead-letters/printable.js';
import type { Finding } from '../ops/doctor/diagnosis.js';

/** `millrace doctor`. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'check every engine, setting and table that Millrace needs, read-only, and print a fix for each problem (exit code 1: errors found)',
    )
    .option('--json', 'print one JSON object')
    .action(async ({ json }: { json?: boolean }) => {
      const { diagnose } = await import('../ops/doctor/doctor.js');
      const findings = await diagnose(process.env);
      const count = (severity: string): number =>
        findings.filter((each) => each.severity === severity).length;
      const [errors, warnings] = [count('error'), count('warning')];
      console.log(
        json
          ? JSON.stringify({ healthy: errors === 0, errors, warnings, findings })
          : describeFindings(findings),
      );
      // A connection that a library keeps open must not keep the process alive.
      process.exit(errors === 0 ? 0 : 1);
    });
}

const marks = { ok: 'ok     ', warning: 'WARNING', error: 'ERROR  ' };

function describeFindings(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ severity, area, what, fix }) => {
    const head = `${marks[severity]}  ${area.padEnd(11)}  ${what.split('\n').map(printable).join('\n                      ')}`;
    return fix === null ? [head] : [head, `                      → ${printable(fix)}`];
  });
  const count = (severity: string): number => findings.filter((each) => each.severity === severity).length;
  const plural = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;
  return [...lines, '', `${plural(count('error'), 'error')}, ${plural(count('warning'), 'warning')}.`].join(
    '\n',
  );
}
