import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { vi } from 'vitest';
import { packageRoot } from '../../../platform/paths.js';
import { type Runtime, readDockerfile, runtimeOf } from './dockerfile.js';

/** A program in the image, as process 1 of a private PID namespace. */
export interface Container {
  output(): string;
  /** Signals process 1, as `docker stop` does. */
  signal(signal: NodeJS.Signals): void;
  readonly exited: Promise<number | NodeJS.Signals>;
}

export interface ContainerOptions {
  settings?: Record<string, string>;
  /** Folders of this machine, by their mount point. */
  volumes?: Record<string, string>;
}

/** The image that the Dockerfile makes, built without a Docker engine (build.ts). */
export class Image {
  readonly runtime: Runtime;
  readonly #folder: string;
  readonly #holder: ChildProcess;
  readonly #stage: string;
  #containers = 0;

  private constructor(folder: string, holder: ChildProcess, stage: string, runtime: Runtime) {
    this.#folder = folder;
    this.#holder = holder;
    this.#stage = stage;
    this.runtime = runtime;
  }

  /**
   * @param folder - an empty one, for mounts that only the image sees.
   * @param node - the program of the Node version in the Dockerfile; unset: this machine's.
   */
  static async build(folder: string, node: string | undefined): Promise<Image> {
    const dockerfile = join(packageRoot, 'Dockerfile');
    const program = join(packageRoot, 'dist', 'tests', 'deploy', 'image', 'build.js');
    const args = ['--mount', process.execPath, program, dockerfile, folder];
    const holder = spawn('unshare', node === undefined ? args : [...args, node], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [holder.stdout, holder.stderr])
      stream.on('data', (chunk: Buffer) => void (output += chunk.toString()));
    const ended = once(holder, 'exit').then(() => false);
    const built = vi
      .waitFor(() => expectText(output, /^built$/m), { timeout: 300_000, interval: 100 })
      .then(() => true);
    if (!(await Promise.race([built, ended]))) throw new Error(`The image could not be built:\n${output}`);
    const last = readDockerfile(dockerfile).at(-1);
    if (last === undefined) throw new Error('The Dockerfile has no stage.');
    return new Image(folder, holder, last.name, runtimeOf(last));
  }

  /** The files of the last stage, by their path on this machine. */
  path(file: string): string {
    return join(`/proc/${this.#holder.pid}/root`, this.#folder, this.#stage, 'layer', file);
  }

  /** Runs the image's entry point as its user, without capabilities, on a read-only root. */
  async run(args: string[], options: ContainerOptions = {}): Promise<Container> {
    return this.exec([...this.runtime.entrypoint, ...args], options);
  }

  async exec(command: string[], { settings = {}, volumes = {} }: ContainerOptions = {}): Promise<Container> {
    const name = `container-${(this.#containers += 1)}`;
    const root = join(this.#folder, name);
    await mkdir(join(`/proc/${this.#holder.pid}/root`, root));
    const environment = { PATH: '/usr/local/bin:/usr/bin:/bin', ...this.runtime.environment, ...settings };
    const [user = '', group = ''] = this.runtime.user.split(':');
    const layers = [this.#layer(this.#stage), join(this.#folder, 'base'), '/'].join(':');
    const hidden = ['/tmp', '/root', '/home', `/${packageRoot.split('/')[1]}`];
    const script = [
      'set -e',
      `mount -t overlay overlay -o ro,lowerdir=${layers} ${root}`,
      `mount -t proc proc ${root}/proc`,
      `mount --rbind /dev ${root}/dev`,
      ...Object.entries(volumes).map(([to, from]) => `mount --bind ${from} ${root}${to}`),
      ...hidden.map((path) => `mount -t tmpfs -o mode=1777,size=64m tmpfs ${root}${path}`),
      `exec chroot ${root} setpriv --reuid=${user} --regid=${group} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs env -i -C ${this.runtime.folder} "$@"`,
    ].join('\n');
    const variables = Object.entries(environment).map(([key, value]) => `${key}=${value}`);
    const child = spawn(
      'nsenter',
      [
        `--mount=/proc/${this.#holder.pid}/ns/mnt`,
        'unshare',
        '--mount',
        '--pid',
        '--fork',
        '--kill-child',
        'sh',
        '-c',
        script,
        'sh',
        ...variables,
        ...command,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => void (output += chunk.toString()));
    return {
      output: () => output,
      signal: (signal) => {
        const first = firstProcess(child);
        if (first !== undefined) process.kill(first, signal);
      },
      exited: once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals),
    };
  }

  async remove(): Promise<void> {
    const ended = once(this.#holder, 'exit');
    this.#holder.stdin?.end();
    await ended;
  }

  #layer(stage: string): string {
    return join(this.#folder, stage, 'layer');
  }
}

/** Host pid of the container's process 1; undefined before and after. */
function firstProcess({ pid }: ChildProcess): number | undefined {
  const list = `/proc/${pid}/task/${pid}/children`;
  const [first] = existsSync(list) ? readFileSync(list, 'utf8').split(' ') : [];
  return first ? Number(first) : undefined;
}

function expectText(text: string, pattern: RegExp): void {
  if (!pattern.test(text)) throw new Error(text);
}
