import { statfs } from 'node:fs/promises';
import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Services } from '../services.js';

/** `null` asks for all topics. */
type DescribeLogDirsRequest = { name: string; partitions: number[] }[] | null;

interface LogDir {
  errorCode: number;
  path: string;
  topics: { name: string; partitions: { index: number; size: number }[] }[];
  totalBytes: number;
  usableBytes: number;
}

/**
 * DescribeLogDirs, versions 0–4 (2 and later flexible): the data folder, the bytes of each partition's
 * segments in it, and of its disk. Partitions that do not exist are left out, as in Kafka.
 *
 *     Request  => [topic · [partition i32]] nullable = all
 *     Response => throttle_time_ms i32 · error_code i16 (3+) · [error_code i16 · log_dir
 *                 · [topic · [partition i32 · size i64 · offset_lag i64 · is_future bool]]
 *                 · total_bytes i64, usable_bytes i64 (4+)]
 */
export const describeLogDirs = defineApi<DescribeLogDirsRequest, LogDir>({
  key: 35,
  name: 'DescribeLogDirs',
  minVersion: 0,
  maxVersion: 4,
  flexibleFrom: 2,

  decode: (reader) =>
    reader.nullableStructs(() => ({
      name: reader.string(),
      partitions: reader.array(() => reader.int32()),
    })),

  async handle(request, { services }) {
    const { bsize, blocks, bavail } = await statfs(services.dataDir);
    return {
      errorCode: ErrorCode.NONE,
      path: services.dataDir,
      topics: sizesOf(services, request),
      totalBytes: blocks * bsize,
      usableBytes: bavail * bsize,
    };
  },

  encode(writer, dir, version) {
    writer.int32(0);
    if (version >= 3) writer.int16(dir.errorCode);
    writer.structs([dir], ({ errorCode, path, topics, totalBytes, usableBytes }) => {
      writer.int16(errorCode);
      writer.string(path);
      writer.structs(topics, ({ name, partitions }) => {
        writer.string(name);
        writer.structs(partitions, ({ index, size }) => {
          writer.int32(index);
          writer.int64(size);
          writer.int64(0);
          writer.boolean(false);
        });
      });
      if (version < 4) return;
      writer.int64(totalBytes);
      writer.int64(usableBytes);
    });
  },

  refuse: (_request, errorCode) => ({ errorCode, path: '', topics: [], totalBytes: -1, usableBytes: -1 }),
});

function sizesOf({ topics }: Services, request: DescribeLogDirsRequest): LogDir['topics'] {
  const asked =
    request ?? topics.all().map(({ name, partitions }) => ({ name, partitions: [...partitions.keys()] }));
  return asked
    .map(({ name, partitions }) => ({
      name,
      partitions: partitions.flatMap((index) => {
        const log = topics.log(name, index);
        return log === undefined ? [] : [{ index, size: log.size }];
      }),
    }))
    .filter(({ partitions }) => partitions.length > 0);
}
