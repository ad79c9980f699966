import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { createAnalytics } from '../../../analytics/client.js';
import { type EmbeddedKafka, startKafka } from '../../../embedded/kafka/start.js';
import { type Logger, silentLogger } from '../../../platform/logger.js';
import { createMetrics } from '../../../platform/metrics.js';
import { SchemaRegistryClient } from '../../../streams/schema-registry.js';
import { Serde } from '../../../streams/serde.js';
import { createStreams, type Streams } from '../../../streams/streams.js';
import { systemTopicSpecs } from '../../../streams/topics.js';
import { FlakyNetwork } from '../../../tests/contract/flaky-network.js';
import type { OpenPipeline } from '../../pipelines/open-pipelines.js';
import { PipelineSet } from '../../pipelines/pipeline-set.js';
import { JobFiles } from '../job-files.js';
import { JobLog } from '../job-log.js';
import { JobRunner } from '../job-runner.js';
import { FileParser } from '../parser/file-parser.js';
import { hourMs } from './test-job.js';

export interface TestRunnerOptions {
  /** Names of the pipelines of the process. */
  pipelines: string[];
  retentionMs: number;
  logger?: Logger;
}

export interface TestJobs {
  log: JobLog;
  files: TestJobFiles;
  parser: FileParser;
  runner: JobRunner;
  client: ClickHouseClient;
  network: FlakyNetwork;
}

/** The log of jobs on an embedded broker, and folders for their files. */
export class JobsFixture {
  readonly #folder: string;
  readonly #kafka: EmbeddedKafka;
  readonly #networks: FlakyNetwork[] = [];
  readonly #closing: (() => Promise<void>)[] = [];

  private constructor(folder: string, kafka: EmbeddedKafka) {
    this.#folder = folder;
    this.#kafka = kafka;
  }

  static async start(): Promise<JobsFixture> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-jobs-'));
    const dataDir = join(folder, 'log');
    const kafka = await startKafka({ dataDir, host: '127.0.0.1', port: 0, registryPort: 0 });
    const fixture = new JobsFixture(folder, kafka);
    await fixture.connect().streams.createTopics(systemTopicSpecs());
    return fixture;
  }

  connect(): { streams: Streams; serde: Serde; network: FlakyNetwork } {
    const network = new FlakyNetwork();
    this.#networks.push(network);
    const { socketFactory } = network;
    const brokers = [`127.0.0.1:${this.#kafka.port}`];
    const streams = createStreams({ brokers, clientId: 'jobs-test', logger: silentLogger, socketFactory });
    this.#closing.push(() => streams.close());
    const serde = new Serde(
      new SchemaRegistryClient({ url: `http://127.0.0.1:${this.#kafka.registryPort}` }),
    );
    return { streams, serde, network };
  }

  /** A process's view of the jobs on the log, over its own network, which the test can break. */
  async openLog(): Promise<{ log: JobLog; streams: Streams; serde: Serde; network: FlakyNetwork }> {
    const { streams, serde, network } = this.connect();
    const producer = await streams.createProducer();
    const log = await JobLog.open({ streams, serde, producer, logger: silentLogger });
    this.#closing.push(() => log.close());
    await log.whenCaughtUp(20_000);
    return { log, streams, serde, network };
  }

  /** With a runner, not started yet, that takes over no job during the test: it never queries ClickHouse. */
  async openJobs({ pipelines, retentionMs, logger = silentLogger }: TestRunnerOptions): Promise<TestJobs> {
    const { log, streams, serde, network } = await this.openLog();
    const files = new TestJobFiles(await mkdtemp(join(this.#folder, 'files-')));
    const { client } = createAnalytics({ url: 'http://127.0.0.1:1' });
    const parser = new FileParser();
    const runner = new JobRunner({
      parser,
      streams,
      serde,
      client,
      log,
      files,
      // The part of a pipeline that an idle runner uses.
      pipelines: new PipelineSet(pipelines.map((name) => [name, { name } as OpenPipeline])),
      metrics: createMetrics(),
      logger,
      heartbeatTimeoutMs: hourMs,
      retentionMs,
    });
    this.#closing.push(async () => {
      await runner.stop();
      await parser.close();
      await client.close();
    });
    return { log, files, parser, runner, client, network };
  }

  /** Closes everything opened since the start or the last time. */
  async closeOpened(): Promise<void> {
    for (const network of this.#networks.splice(0)) network.restore();
    for (const close of this.#closing.splice(0).toReversed()) await close();
  }

  async stop(): Promise<void> {
    await this.closeOpened();
    await this.#kafka.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** The files of jobs, from outside, with control of the times. */
export class TestJobFiles extends JobFiles {
  readonly #root: string;

  constructor(root: string) {
    super(root);
    this.#root = root;
  }

  /** Names of the folders, in order. */
  async names(): Promise<string[]> {
    return (await readdir(this.#root)).toSorted();
  }

  /** Creates a file for a job. */
  async put(jobId: string): Promise<void> {
    await mkdir(join(this.#root, jobId));
    await writeFile(this.input(jobId), 'AGE\n30\n');
  }

  /** Makes a folder look unchanged for some time. */
  async age(name: string, ms: number): Promise<void> {
    const then = new Date(Date.now() - ms);
    await utimes(join(this.#root, name), then, then);
  }
}
