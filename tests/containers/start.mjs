import { GenericContainer, getContainerRuntimeClient } from 'testcontainers';

/**
 * Starts a container with fixed ports on this machine, so that they stay the same after a restart.
 * testcontainers removes it when this process has ended.
 *
 * @param {{ image: string, ports: Record<number, number>, command?: string[], environment?: Record<string,
 *   string>, files?: Record<string, string> }} options
 *   ports: of the container, to those of this machine; files: texts by their path in the container.
 */
export async function startContainer({ image, ports, command = [], environment = {}, files = {} }) {
  const { container: containers } = await getContainerRuntimeClient();
  const started = await new GenericContainer(image)
    .withExposedPorts(...Object.entries(ports).map(([port, host]) => ({ container: Number(port), host })))
    .withEnvironment(environment)
    .withCommand(command)
    .withCopyContentToContainer(
      Object.entries(files).map(([target, content]) => ({ target, content, mode: 0o644 })),
    )
    .start();
  const container = containers.getById(started.getId());
  const isRunning = async () => (await container.inspect()).State.Running;
  return {
    async kill() {
      if (await isRunning()) await container.kill({ signal: 'SIGKILL' });
      await container.wait();
    },
    shutDown: () => containers.stop(container, { timeout: 20_000 }),
    restart: () => containers.restart(container, { timeout: 20_000 }),
    pause: async () => void (await container.pause()),
    resume: async () => void (await container.unpause()),
    stop: async () => void (await started.stop({ timeout: 0 })),
    output: async () => (await container.logs({ stdout: true, stderr: true })).toString(),
  };
}
