import { count, type Finding, nameOf, type Severity } from './finding.ts';
import type { Report } from './index.ts';

/** Findings of one check and severity that are printed; --json has all. */
const MOST_PRINTED = 10;

/** The report for people: grouped by check, the fix below each finding, the sum at the end. */
export function printReport(report: Report, server: string): string {
  const groups = report.checks.map(({ id, title }) => {
    const findings = report.findings.filter(({ check }) => check === id);
    return [`${id}: ${title}`, ...linesOf(findings)].join('\n');
  });
  return [...groups, summaryOf(report, server)].join('\n\n');
}

function linesOf(findings: readonly Finding[]): string[] {
  const printed = new Map<Severity, number>();
  const lines = findings.flatMap((finding) => {
    const before = printed.get(finding.severity) ?? 0;
    printed.set(finding.severity, before + 1);
    return before < MOST_PRINTED ? linesOfFinding(finding) : [];
  });
  const more = [...printed].filter(([, amount]) => amount > MOST_PRINTED);
  return [
    ...lines,
    ...more.map(
      ([severity, amount]) => `  ${cell(severity)}and ${amount - MOST_PRINTED} more like these; --json lists all`,
    ),
  ];
}

function linesOfFinding({ severity, object, message, fix }: Finding): string[] {
  const line = `  ${cell(severity)}${object === undefined ? '' : `${nameOf(object)}: `}${message}`;
  return fix === undefined ? [line] : [line, `  ${cell('')}fix: ${fix}`];
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
