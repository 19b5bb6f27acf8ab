import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { metricUses, queriesOf, readDashboard } from '../../support/dashboard.ts';
import { deployDirectory } from '../../support/deploy-tools.ts';

describe('the Grafana dashboard', () => {
  const dashboard = readDashboard();
  const { panels } = dashboard;

  it('has what Grafana wants of one: an identity, a schema, ids that are unique, and places inside of its grid', () => {
    assert.match(dashboard.uid, /^[A-Za-z0-9_-]{1,40}$/);
    assert.ok(dashboard.title !== '' && dashboard.schemaVersion >= 36);
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    for (const { id, type, title, gridPos } of panels) {
      assert.ok(Number.isInteger(id) && id > 0 && type !== '' && title !== '');
      const { x, y, w, h } = gridPos;
      assert.ok([x, y, w, h].every(Number.isInteger) && x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= 24, title);
    }
  });

  it('has no two panels in one place', () => {
    for (const [index, { title, gridPos: a }] of panels.entries())
      for (const { title: other, gridPos: b } of panels.slice(index + 1))
        assert.ok(
          a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y,
          `${title} and ${other} overlap`,
        );
  });

  it('asks the data source that is chosen, and uses the variables that it has', () => {
    const names = dashboard.templating.list.map(({ name }) => name);
    assert.deepEqual(names, ['datasource', 'namespace', 'tenant']);
    for (const { type, title, datasource, targets = [] } of panels) {
      if (type === 'row') continue;
      assert.equal(datasource?.uid, '${' + 'datasource}', title);
      assert.ok(targets.length > 0, title);
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    }
    const used = queriesOf(dashboard).flatMap((query) => [...query.matchAll(/\$(\w+)/g)].map(([, name = '']) => name));
    for (const name of used) assert.ok(name === '__rate_interval' || names.includes(name), name);
    for (const name of ['namespace', 'tenant']) assert.ok(used.includes(name));
  });

  it('is in the chart as it is here', () => {
    const read = (path: string) => readFileSync(join(deployDirectory, path), 'utf8');
    assert.equal(read('helm/sandbox-router/dashboards/sandbox-router.json'), read('grafana/sandbox-router.json'));
  });

  it('is read by its tests as Prometheus would read it', () => {
    assert.deepEqual(
      metricUses('histogram_quantile(0.9, sum by (le) (rate(a_b_bucket{x="y z", q!~"{1}|c_d"}[$__rate_interval])))'),
      [{ metric: 'a_b_bucket', labels: ['le', 'x', 'q'] }],
    );
    assert.deepEqual(metricUses('sum (rate(a_total{c=~"5.."}[5m])) / sum (rate(b_total[5m]))'), [
      { metric: 'a_total', labels: ['c'] },
      { metric: 'b_total', labels: [] },
    ]);
    assert.deepEqual(metricUses('label_values(a_total{n=~"$n"}, t)'), [{ metric: 'a_total', labels: ['t', 'n'] }]);
    for (const query of queriesOf(dashboard)) assert.ok(metricUses(query).length > 0, query);
  });
});
