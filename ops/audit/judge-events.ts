import { recordEventId } from '../../processors/events/ids.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Verdict } from './compare-rows.js';
import { type InFlight, readInFlight } from './in-flight.js';
import type { PipelineAudit } from './pipeline-audit.js';

/** Returns a function that judges events without their own row. */
export function judgeEvents({ queries, pipeline, ...audit }: PipelineAudit) {
  const { predictions, deadLetters } = audit.bounds;
  let reading: Promise<InFlight> | undefined;
  return async (records: StreamRecord[]): Promise<Verdict[]> => {
    const ids = records.map((record) => recordEventId(record));
    const answered = await queries.answered(pipeline, [...new Set(ids)]);
    const rest = ids.some((id) => !answered.has(id));
    if (rest)
      reading ??= readInFlight({
        ...audit,
        queries,
        prediction: audit.contracts.prediction,
        predictions,
        deadLetters,
      });
    const inFlight = await reading;
    return records.map((record, index): Verdict => {
      const eventId = ids[index] ?? '';
      const places = answered.get(eventId);
      // The sink may have stored the row since the count.
      if (places !== undefined)
        return {
          kind: places.has(`${record.topic}/${record.partition}/${record.offset}`) ? 'elsewhere' : 'repeat',
        };
      if (inFlight?.inFlight(record)) return { kind: 'in flight' };
      if (inFlight?.unfit(record)) return { kind: 'elsewhere' };
      return { kind: 'missing', eventId, detail: 'has neither a prediction nor a dead letter in ClickHouse' };
    });
  };
}
