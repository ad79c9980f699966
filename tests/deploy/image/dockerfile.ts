import { readFileSync } from 'node:fs';

/** One stage of a Dockerfile: its base, and its instructions in their order. */
export interface Stage {
  name: string;
  from: string;
  instructions: { name: string; text: string }[];
}

/** How a container of the last stage runs. */
export interface Runtime {
  environment: Record<string, string>;
  folder: string;
  user: string;
  entrypoint: string[];
  healthCheck: string[];
}

/** Reads the instructions that this project's Dockerfile uses. @throws on an unknown one. */
export function readDockerfile(path: string): Stage[] {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const globals: Record<string, string> = {};
  const stages: Stage[] = [];
  for (const line of lines) {
    const [, name = '', text = ''] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    const stage = stages.at(-1);
    if (name === 'FROM') {
      const [from = '', , alias = ''] = text.split(/\s+/);
      stages.push({ name: alias, from: expand(from, globals), instructions: [] });
    } else if (stage === undefined && name === 'ARG') Object.assign(globals, assignment(text));
    else if (stage !== undefined && known.has(name)) stage.instructions.push({ name, text });
    else throw new Error(`Not an instruction that this reader knows: ${line}`);
  }
  return stages;
}

const known = new Set('ARG COPY RUN ENV LABEL WORKDIR USER EXPOSE HEALTHCHECK ENTRYPOINT CMD'.split(' '));

export function runtimeOf(stage: Stage): Runtime {
  const runtime: Runtime = { environment: {}, folder: '/', user: '', entrypoint: [], healthCheck: [] };
  for (const { name, text } of stage.instructions) {
    if (name === 'ENV') Object.assign(runtime.environment, assignments(text));
    if (name === 'WORKDIR') runtime.folder = text;
    if (name === 'USER') runtime.user = text;
    if (name === 'ENTRYPOINT') runtime.entrypoint = JSON.parse(text) as string[];
    if (name === 'HEALTHCHECK') runtime.healthCheck = JSON.parse(text.replace(/^.*?CMD /, '')) as string[];
  }
  return runtime;
}

function assignments(text: string): Record<string, string> {
  return Object.assign({}, ...text.split(/\s+/).map(assignment)) as Record<string, string>;
}

function assignment(text: string): Record<string, string> {
  const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(text) ?? [];
  return { [name]: value };
}

function expand(text: string, values: Record<string, string>): string {
  return text.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => values[name] ?? '');
}
