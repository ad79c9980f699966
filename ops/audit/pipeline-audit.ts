import type { ClickHouseClient } from '@clickhouse/client';
import type { AuditQueries } from '../../analytics/audit-queries.js';
import type { Contract } from '../../schemas/contracts.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import type { PipelineTopics } from '../../streams/topics.js';
import type { Bounds } from './bounds.js';
import type { Findings } from './report.js';

export interface AuditOptions {
  streams: Streams;
  serde: Serde;
  client: ClickHouseClient;
  pipelines: readonly string[];
  /** Only records with this timestamp (milliseconds since 1970) or later. */
  since?: number | undefined;
  /** Reads the whole log, not only the places where rows are missing. */
  deep?: boolean;
  /** How long to wait for the records now on the log to be processed, in milliseconds. Default: no wait. */
  waitMs?: number;
  /** How long a group with records to process may go without a commit, in milliseconds. Default 3,000. */
  stillMs?: number;
  /** Maximum number of listed findings. All are counted. Default 20. */
  limit?: number;
  /** What is already known not to be comparable. */
  unfinished?: readonly string[];
  onProgress?: (step: string) => void;
}

/** Shared state of the comparisons of one pipeline. */
export interface PipelineAudit extends AuditOptions {
  queries: AuditQueries;
  found: Findings;
  pipeline: string;
  topics: PipelineTopics;
  contracts: { prediction: Contract; outcome: Contract };
  /** Ranges that the consumer group of each topic has processed. */
  bounds: Record<'events' | 'predictions' | 'deadLetters' | 'outcomes', Bounds[]>;
}
