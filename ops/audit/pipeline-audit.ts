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
  /** Only records of that time (milliseconds since 1970) or later. */
  since?: number | undefined;
  /** Reads all of the log, not only where rows are missing. */
  deep?: boolean;
  /** How long to wait until what is on the log when the audit begins is done, milliseconds. Default: not at all. */
  waitMs?: number;
  /** How long a group with records before it may stand where it is, milliseconds: one that runs commits more often. Default 3,000. */
  stillMs?: number;
  /** Most findings that are named. Default 20; all are counted. */
  limit?: number;
  /** What is known beforehand not to be comparable. */
  unfinished?: readonly string[];
  onProgress?: (step: string) => void;
}

/** What the comparisons of one pipeline share. */
export interface PipelineAudit extends AuditOptions {
  queries: AuditQueries;
  found: Findings;
  pipeline: string;
  topics: PipelineTopics;
  contracts: { prediction: Contract; outcome: Contract };
  /** By topic what the group that reads it has done. */
  bounds: Record<'events' | 'predictions' | 'deadLetters' | 'outcomes', Bounds[]>;
}
