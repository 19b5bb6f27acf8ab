import { count, type Finding, nameOf } from './finding.ts';
import type { Report } from './index.ts';

/** Different findings of one check and severity that are printed, and objects with the same one; --json has all. */
const MOST_PRINTED = 10;
const INDENT = ' '.repeat(12);

/** The report for people: grouped by check, the fix below each finding, the sum at the end. */
export function printReport(report: Report, server: string): string {
  const groups = report.checks.map(({ id, title }) => {
    const findings = report.findings.filter(({ check }) => check === id);
    return [`${id}: ${title}`, ...linesOf(findings)].join('\n');
  });
  return [...groups, summaryOf(report, server)].join('\n\n');
}

function linesOf(findings: readonly Finding[]): string[] {
  const bySeverity = Map.groupBy(findings, ({ severity }) => severity);
  return [...bySeverity].flatMap(([severity, own]) => {
    // What one policy does to a hundred pods is one thing to read, and one to mend.
    const alike = [...Map.groupBy(own, ({ message }) => message).values()];
    const more = alike.length - MOST_PRINTED;
    return [
      ...alike.slice(0, MOST_PRINTED).flatMap(linesOfAlike),
      ...(more > 0 ? [`  ${cell(severity)}and ${more} more; --json lists all`] : []),
    ];
  });
}

function linesOfAlike(alike: readonly Finding[]): string[] {
  const [first, ...others] = alike;
  if (first === undefined) return [];
  const { severity, object, message, fix } = first;
  const names = others
    .slice(0, MOST_PRINTED)
    .flatMap((other) => (other.object === undefined ? [] : [nameOf(other.object)]));
  const more = others.length - names.length;
  return [
    `  ${cell(severity)}${object === undefined ? '' : `${nameOf(object)}: `}${message}`,
    ...(fix === undefined ? [] : [`${INDENT}fix: ${fix}`]),
    ...(names.length > 0 ? [`${INDENT}the same: ${names.join(', ')}${more > 0 ? `, and ${more} more` : ''}`] : []),
  ];
}

function cell(text: string): string {
  return text.padEnd('warning'.length + 3);
}

function summaryOf({ checks, summary }: Report, server: string): string {
  const sums = [
    count(summary.failure, 'failure'),
    count(summary.warning, 'warning'),
    `${summary.skipped} skipped`,
    `${summary.ok} ok`,
  ];
  return `${count(checks.length, 'check')} of ${server}: ${sums.join(', ')}.`;
}
