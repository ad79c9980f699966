import { describe, expect, it } from 'vitest';
import type { Evidence } from './evidence.js';
import { Ledger } from './ledger.js';
import { type Verdict, verify } from './verify.js';

const clean: Verdict = { losses: [], duplicates: [], wrong: [], disorder: [], strangers: [] };
const scoreOf = (_pipeline: string, fields: object): number => Number(Reflect.get(fields, 'n')) / 10;

/** The results of five events of one key, the fourth of them bad, and one whose request was not answered. */
function aRun(): { ledger: Ledger; evidence: Evidence } {
  const ledger = new Ledger();
  const evidence: Evidence = {
    events: [],
    predictions: [],
    deadLetters: [],
    predictionRows: [],
    deadLetterRows: [],
  };
  const add = (id: string, n: number, key: string, offset: number, reason?: string): void => {
    const source = `taxi.events/0/${offset}`;
    const prediction = { id, pipeline: 'taxi', prediction_id: `of ${id}`, score: n / 10, source };
    evidence.events.push({ place: source, pipeline: 'taxi', id, key, partition: 0, offset });
    if (reason === undefined) {
      evidence.predictions.push({ ...prediction, key, partition: 0, offset });
      evidence.predictionRows.push({ ...prediction, event_id: id, features: JSON.stringify({ n }) });
    } else {
      evidence.deadLetters.push({ source, id, reason });
      evidence.deadLetterRows.push({ source, event_id: id, reason });
    }
  };
  for (let n = 0; n < 5; n++) {
    const id = `event-${n}`;
    const reason = n === 3 ? 'UNDECODABLE' : undefined;
    const event = {
      id,
      pipeline: 'taxi',
      key: 'one',
      fields: { n },
      ...(reason === undefined ? {} : { reason }),
    };
    ledger.accept(ledger.send(event));
    ledger.follows('taxi', 'one', id);
    add(id, n, 'one', n, reason);
  }
  ledger.answers.push({ event_id: 'event-1', prediction_id: 'of event-1', score: 0.1 });
  ledger.noAnswer('taxi', { n: 7 });
  add('given by the server', 7, 'given by the server', 5);
  return { ledger, evidence };
}

function judge(change: (evidence: Evidence, ledger: Ledger) => void = () => undefined): Verdict {
  const { ledger, evidence } = aRun();
  change(evidence, ledger);
  return verify(ledger, evidence, scoreOf);
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new Error(`there is no item ${index}`);
  return item;
}

it('finds nothing when the guarantees hold', () => {
  expect(judge()).toEqual(clean);
});

it('accepts that an event that was sent twice is on the log twice, with one row', () => {
  const verdict = judge(({ events, predictions }) => {
    events.push({ ...at(events, 0), offset: 6, place: 'taxi.events/0/6' });
    predictions.push({ ...at(predictions, 0), offset: 6, source: 'taxi.events/0/6' });
  });
  expect(verdict).toEqual(clean);
});

describe('finds losses', () => {
  it.each<[string, (evidence: Evidence) => unknown]>([
    ['a row', ({ predictionRows }) => predictionRows.splice(0, 1)],
    ['a dead letter’s row', ({ deadLetterRows }) => deadLetterRows.splice(0, 1)],
    ['a prediction on the log', ({ predictions }) => predictions.splice(0, 1)],
    ['a dead letter on the log', ({ deadLetters }) => deadLetters.splice(0, 1)],
    ['the row of an event whose answer was lost', ({ predictionRows }) => predictionRows.pop()],
  ])('%s', (_what, change) => {
    expect(judge(change)).not.toMatchObject({ losses: [], strangers: [] });
  });

  it('an accepted event and everything that follows from it', () => {
    const verdict = judge((evidence) => {
      evidence.events.splice(0, 1);
      evidence.predictions.splice(0, 1);
      evidence.predictionRows.splice(0, 1);
    });
    expect(verdict.losses).toEqual(['event-0 was accepted and is not on the log', 'event-0 has no row']);
  });
});

describe('finds duplicates', () => {
  it.each<[string, (evidence: Evidence) => unknown]>([
    ['a row', ({ predictionRows }) => predictionRows.push({ ...at(predictionRows, 0) })],
    ['a dead letter’s row', ({ deadLetterRows }) => deadLetterRows.push({ ...at(deadLetterRows, 0) })],
    ['a prediction on the log', ({ predictions }) => predictions.push({ ...at(predictions, 0), offset: 9 })],
    ['a dead letter on the log', ({ deadLetters }) => deadLetters.push({ ...at(deadLetters, 0) })],
    [
      'an event that was scored and set aside',
      ({ deadLetterRows, predictionRows: [row] }) =>
        deadLetterRows.push({
          source: row?.source ?? '',
          event_id: row?.event_id ?? '',
          reason: 'EVENT_INVALID',
        }),
    ],
    [
      'an event with predictions of two ids',
      ({ events, predictions }) => {
        events.push({ ...at(events, 0), offset: 6, place: 'taxi.events/0/6' });
        predictions.push({
          ...at(predictions, 0),
          offset: 6,
          source: 'taxi.events/0/6',
          prediction_id: 'other',
        });
      },
    ],
  ])('%s', (_what, change) => {
    expect(judge(change).duplicates).toHaveLength(1);
  });
});

describe('finds wrong values', () => {
  it.each<[string, (evidence: Evidence, ledger: Ledger) => unknown]>([
    ['a score in a row', ({ predictionRows }) => (at(predictionRows, 0).score += 1e-9)],
    ['a score on the log', ({ predictions }) => (at(predictions, 0).score += 1e-9)],
    ['an answer', (_, { answers }) => (at(answers, 0).prediction_id = 'another')],
    ['the fields', ({ predictionRows }) => (at(predictionRows, 0).features = '{"n":0,"m":1}')],
    [
      'where a row says that it is from',
      ({ predictionRows }) => (at(predictionRows, 0).source = 'taxi.events/0/1'),
    ],
    ['the reason in a row', ({ deadLetterRows }) => (at(deadLetterRows, 0).reason = 'EVENT_INVALID')],
    ['the reason on the log', ({ deadLetters }) => (at(deadLetters, 0).reason = 'EVENT_INVALID')],
  ])('%s', (_what, change) => {
    expect(judge(change).wrong).toHaveLength(1);
  });
});

describe('finds a wrong order', () => {
  it('predictions', () => {
    const verdict = judge(({ predictions }) => {
      [at(predictions, 0).offset, at(predictions, 1).offset] = [1, 0];
    });
    expect(verdict.disorder).toEqual(['the predictions of taxi one are in another order than its events']);
  });

  it('events', () => {
    const verdict = judge((_, { sequences }) => {
      sequences.set('taxi one', ['event-1', 'event-0', 'event-2', 'event-3', 'event-4']);
    });
    expect(verdict.disorder).toEqual([
      'the events of taxi one are on the log in another order than they were sent in',
    ]);
  });

  it('predictions of a key in two partitions', () => {
    const verdict = judge(({ predictions }) => (at(predictions, 3).partition = 1));
    expect(verdict.disorder).toEqual(['the predictions of taxi one are in several partitions']);
  });
});

describe('finds results of unknown events', () => {
  it('a row', () => {
    const verdict = judge(({ predictionRows }) =>
      predictionRows.push({ ...at(predictionRows, 0), event_id: 'stranger' }),
    );
    expect(verdict.strangers).toHaveLength(2);
  });

  it('a prediction of no event', () => {
    const verdict = judge(({ predictions }) =>
      predictions.push({ ...at(predictions, 0), source: 'taxi.events/0/99' }),
    );
    expect(verdict.strangers).toHaveLength(1);
  });

  it('more unanswered events on the log than were sent', () => {
    const verdict = judge((evidence) => {
      const source = 'taxi.events/0/8';
      evidence.events.push({ ...at(evidence.events, 5), id: 'again', offset: 8, place: source });
      evidence.predictions.push({ ...at(evidence.predictions, 4), id: 'again', offset: 8, source });
      evidence.predictionRows.push({ ...at(evidence.predictionRows, 4), event_id: 'again', source });
    });
    expect(verdict.strangers).toEqual(['the row of again, which nobody sent']);
  });
});
