import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { packageRoot } from '../../platform/paths.js';
import { freePorts } from '../system/programs.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeWithTools } from './installed.js';
import { runTool } from './run-tool.js';

const tools = {
  promtool: 'prometheus/usr/bin/promtool',
  prometheus: 'prometheus/usr/bin/prometheus',
};
const deploy = (...path: string[]): string => join(packageRoot, 'deploy', ...path);
const event = readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8');

interface Dashboard {
  uid: string;
  panels: { type: string; title: string; datasource?: { uid: string }; targets?: { expr: string }[] }[];
}

/** All other words of a query are names of metrics and labels. */
const language =
  /\b(sum|max|min|count|avg|rate|increase|delta|changes|absent|histogram_quantile|min_over_time|vector|by|on|or|and|offset|unless|sort_desc)\b/g;

/** Returns the metrics of a query. */
function metricsIn(query: string): string[] {
  const bare = query
    .replaceAll(/\{[^}]*\}/g, ' ')
    .replaceAll(/\b(by|on) \([^)]*\)/g, ' ')
    .replaceAll(/\[[^\]]*\]|offset \w+/g, ' ')
    .replaceAll(language, ' ');
  return bare.match(/[a-z_:][a-z0-9_:]*/gi) ?? [];
}

describeWithTools('alerts and dashboards', tools, ({ promtool, prometheus }) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-monitoring-'));
  const dashboards = readdirSync(deploy('grafana', 'dashboards')).map((file) => ({
    file,
    ...(JSON.parse(readFileSync(deploy('grafana', 'dashboards', file), 'utf8')) as Dashboard),
  }));
  const alertsText = readFileSync(deploy('prometheus', 'alerts.yaml'), 'utf8');
  const { groups } = parse(alertsText) as { groups: { rules: { alert: string; expr: string }[] }[] };
  const alerts = groups.flatMap(({ rules }) => rules);
  const queries = [
    ...alerts.map(({ alert, expr }) => ({ of: alert, expr })),
    ...dashboards.flatMap(({ file, panels }) =>
      panels.flatMap(({ title, targets = [] }) =>
        targets.map(({ expr }) => ({ of: `${file}: ${title}`, expr })),
      ),
    ),
  ].map(({ of, expr }) => ({ of, expr: expr.replaceAll('$__rate_interval', '1m') }));
  let system: TestSystem;
  let server: ChildProcess;
  let url: string;

  const key = 'key-of-this-test';

  beforeAll(async () => {
    const ports = await freePorts('prometheus', 'rabbitmq', 'redis');
    // Neither engine is there: their metrics and the failures are.
    system = await startSystem({
      API_KEYS: key,
      RABBITMQ_URL: `amqp://127.0.0.1:${ports.rabbitmq}`,
      REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
    });
    url = `http://127.0.0.1:${ports.prometheus}`;
    writeFileSync(
      join(folder, 'prometheus.yaml'),
      `global: { scrape_interval: 1s }
scrape_configs:
  - job_name: millrace
    static_configs: [{ targets: ['${new URL(system.endpoints.http).host}'], labels: { role: serve } }]
`,
    );
    server = spawn(
      prometheus,
      [
        `--config.file=${join(folder, 'prometheus.yaml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${ports.prometheus}`,
        '--log.level=error',
      ],
      { stdio: 'ignore' },
    );
  });

  afterAll(async () => {
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
    await system.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const ask = async (query: string): Promise<{ status: string; error?: string; rows: unknown[] }> => {
    const answer = await fetch(`${url}/api/v1/query`, {
      method: 'POST',
      body: new URLSearchParams({ query }),
    });
    const { status, error, data } = (await answer.json()) as {
      status: string;
      error?: string;
      data?: { result: unknown[] };
    };
    return { status, rows: data?.result ?? [], ...(error === undefined ? {} : { error }) };
  };

  it('use metrics that a running system exports, and no others', async () => {
    const page = await (await system.get('/metrics')).text();
    const shown = new Set(['up']);
    for (const [, name = '', type] of page.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      shown.add(name);
      if (type === 'histogram' || type === 'summary')
        for (const part of ['_bucket', '_sum', '_count']) shown.add(name + part);
    }
    const used = new Set(queries.flatMap(({ expr }) => metricsIn(expr)));
    expect([...used].filter((name) => !shown.has(name))).toEqual([]);
    expect(metricsIn('sum by (a) (rate(millrace_nothing_total{b="c"}[5m])) > 0')).toEqual([
      'millrace_nothing_total',
    ]);
    // All of Millrace's metrics are on a dashboard.
    const ours = [...page.matchAll(/^# TYPE (millrace_\S+)/gm)].map(([, name = '']) => name);
    const onDashboards = queries.map(({ expr }) => expr).join('\n');
    expect(ours.filter((name) => !onDashboards.includes(name))).toEqual([]);
  });

  it('are queries that Prometheus parses, and that return data', async () => {
    // Events that this test does not cause have no series; a query with a wrong label would have none either.
    const notHappened =
      /^(Millrace|millrace.json: (Refused by limits|File jobs ended|Dead letters|Challengers that fail|Inserts that failed|Scheduled runs|Messages|Delivered|Published|Requests that fail))/;
    await vi.waitFor(
      async () => {
        // A counter has a rate from its second sample on.
        for (const path of ['predict', 'events'])
          expect(
            (await system.post(`/v1/pipelines/credit-default/${path}`, event, { 'x-api-key': key })).ok,
          ).toBe(true);
        const empty: string[] = [];
        for (const { of, expr } of queries) {
          const { status, error, rows } = await ask(expr);
          if (status !== 'success') throw new Error(`${of}: ${error}\n${expr}`);
          if (rows.length === 0) empty.push(of);
        }
        expect(empty.filter((of) => !notHappened.test(of))).toEqual([]);
      },
      { timeout: 40_000, interval: 1_000 },
    );
    const wrong = await ask('sum by (le) (rate(millrace_predictions_total[1m])');
    expect(wrong.status).toBe('error');
  });

  it('fire when they should, and are silent otherwise', () => {
    const { status, output } = runTool(promtool, ['test', 'rules', deploy('prometheus', 'alerts.test.yaml')]);
    expect(status, output).toBe(0);
    const tested = readFileSync(deploy('prometheus', 'alerts.test.yaml'), 'utf8');
    for (const { alert } of alerts) expect(tested).toContain(`alertname="${alert}"`);
  });

  it('are checked: rules that are late or broken fail', () => {
    writeFileSync(join(folder, 'alerts.yaml'), alertsText.replace('> 50000', '> 90000'));
    const tests = readFileSync(deploy('prometheus', 'alerts.test.yaml'), 'utf8');
    writeFileSync(join(folder, 'alerts.test.yaml'), tests);
    const late = runTool(promtool, ['test', 'rules', join(folder, 'alerts.test.yaml')]);
    expect(late.status).not.toBe(0);
    expect(late.output).toContain('MillraceSinkBehind');
    writeFileSync(join(folder, 'alerts.yaml'), alertsText.replace('for: 2m', 'for: soon'));
    expect(runTool(promtool, ['check', 'rules', join(folder, 'alerts.yaml')]).status).not.toBe(0);
  });

  it('have a configuration that Prometheus accepts, and dashboards on the provisioned data source', () => {
    const { status, output } = runTool(promtool, [
      'check',
      'config',
      deploy('prometheus', 'prometheus.yaml'),
    ]);
    expect(status, output).toBe(0);
    const source = parse(
      readFileSync(deploy('grafana', 'provisioning', 'datasources', 'prometheus.yaml'), 'utf8'),
    ) as { datasources: { uid: string }[] };
    const uids = source.datasources.map(({ uid }) => uid);
    expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(dashboards.length);
    for (const { panels } of dashboards)
      for (const { type, datasource } of panels) if (type !== 'row') expect(uids).toContain(datasource?.uid);
  });
});
