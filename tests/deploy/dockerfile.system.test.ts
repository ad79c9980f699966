import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { describeWithTools } from './installed.js';
import { runTool } from './run-tool.js';

const dockerfile = readFileSync(join(packageRoot, 'Dockerfile'), 'utf8');

describeWithTools('the Dockerfile', { hadolint: 'python/bin/hadolint' }, ({ hadolint }) => {
  it('has no lint warnings', () => {
    expect(runTool(hadolint, ['-'], dockerfile)).toEqual({ status: 0, output: '' });
  });

  it('is checked: a bad line gives a warning', () => {
    const { status, output } = runTool(
      hadolint,
      ['-'],
      `${dockerfile}\nRUN cd /tmp && sudo apt-get install curl\n`,
    );
    expect(status).not.toBe(0);
    expect(output).toContain('DL3004');
  });

  it('names an exact version of its base, and ends as an unprivileged user', () => {
    expect(dockerfile).toMatch(/^ARG NODE_IMAGE=node:\d+\.\d+\.\d+-bookworm-slim$/m);
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base);
    expect(new Set(bases)).toEqual(new Set(['${NODE_IMAGE}']));
    expect(dockerfile.match(/^USER .*$/gm)).toEqual(['USER 1000:1000']);
  });

  it('has the version of the package', () => {
    const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(dockerfile).toContain(`ARG VERSION=${version}\n`);
  });
});
