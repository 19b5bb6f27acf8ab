import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deployDirectory } from './deploy-tools.ts';

/** What tests look at of a Grafana dashboard. */
export interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: { name: string; type: string; query: string | { query: string } }[] };
  panels: Panel[];
}

/** One panel of it. */
export interface Panel {
  id: number;
  type: string;
  title: string;
  datasource?: { type: string; uid: string };
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { refId: string; expr: string; datasource: { uid: string } }[];
}

/** A metric in a query, and the labels by which the query chooses or groups. */
export interface MetricUse {
  metric: string;
  labels: string[];
}

/** The dashboard that operators import. */
export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(join(deployDirectory, 'grafana/sandbox-router.json'), 'utf8')) as Dashboard;
}

/** Every query of a dashboard: of its panels and of its variables. */
export function queriesOf({ panels, templating }: Dashboard): string[] {
  const ofVariables = templating.list.flatMap(({ type, query }) => (type === 'query' ? [query] : []));
  return [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...ofVariables.map((query) => (typeof query === 'string' ? query : query.query)),
  ];
}

/** Metrics of a PromQL query, or of `label_values(selector, label)`. */
export function metricUses(query: string): MetricUse[] {
  const [, selector, valuesOf] = /^label_values\((.*), (\w+)\)$/.exec(query) ?? [];
  const grouped = valuesOf === undefined ? [] : [valuesOf];
  const withoutGroups = (selector ?? query)
    .replace(/"[^"]*"/g, '""')
    .replace(/\bby \(([^)]*)\)/g, (_, labels: string) => {
      grouped.push(...labels.split(',').map((label) => label.trim()));
      return '';
    });
  // An identifier that is no function's and no label's, with or without a selector.
  return [...withoutGroups.matchAll(/\b([a-zA-Z_:][\w:]*)\b(?! *\()(\{[^}]*\})?/g)]
    .filter(([, name = '']) => !name.startsWith('__') && name.includes('_'))
    .map(([, metric = '', selected = '']) => ({
      metric,
      labels: [...grouped, ...[...selected.matchAll(/(\w+) *(?:=~|!~|!=|=)/g)].map(([, label = '']) => label)],
    }));
}

/** Label names of every metric in the text of `/metrics`; of one that has no sample yet, none. */
export function exposedMetrics(text: string): Map<string, Set<string>> {
  const exposed = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, declared] = /^# TYPE (\S+)/.exec(line) ?? [];
    const [, name = declared, labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const known = exposed.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
    exposed.set(name, known);
  }
  return exposed;
}
