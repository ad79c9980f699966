import { parse } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';
import { fileForm, type JobAnswer, whenFinished } from '../system/file-jobs.js';
import type { TestSystem } from '../system/start.js';

/** What every way of sending a row answers. */
export interface Answer {
  score: number;
  label: string | null;
  /** The main output: one number, {class: number}, or a vector. */
  main: unknown;
}

export type Event = Record<string, unknown>;

/** Sends events to a pipeline, and returns the predictions in the same order. */
export type Way = (
  system: TestSystem,
  pipeline: string,
  events: Event[],
  output: string,
) => Promise<Answer[]>;

interface Tensor {
  name: string;
  datatype: string;
  shape: number[];
  data: unknown[];
}

export const ways: Record<string, Way> = { predict, infer, 'csv file': csvFile };

async function predict(system: TestSystem, pipeline: string, events: Event[], output: string) {
  const response = await system.post(`/v1/pipelines/${pipeline}/predict`, events);
  const body = await answered<{
    predictions: { score: number; label: string | null; outputs: Record<string, unknown> }[];
  }>(response);
  return body.predictions.map((prediction) => {
    if (typeof prediction.score !== 'number') throw new Error(JSON.stringify(prediction));
    return { score: prediction.score, label: prediction.label, main: prediction.outputs[output] };
  });
}

async function infer(system: TestSystem, pipeline: string, events: Event[], output: string) {
  const model = `/v2/models/${pipeline}`;
  const metadata = await answered<{ inputs: Tensor[]; outputs: Tensor[] }>(await system.get(model));
  const inputs = metadata.inputs
    .filter(({ name }) => name in (events[0] ?? {}))
    .map(({ name, datatype }) => ({
      name,
      datatype,
      shape: [events.length],
      data: events.map((event) => event[name]),
    }));
  const labels = metadata.outputs.filter(({ name }) => name === 'label').map(({ name }) => name);
  const outputs = ['score', output, ...labels].map((name) => ({ name }));
  const body = await answered<{ outputs: Tensor[] }>(
    await system.post(`${model}/infer`, { inputs, outputs }),
  );
  const [score, main, label] = body.outputs;
  if (score === undefined || main === undefined) throw new Error(JSON.stringify(body));
  return events.map((_, row) => ({
    score: score.data[row] as number,
    label: (label?.data[row] ?? null) as string | null,
    main: rowOf(main, row),
  }));
}

/** Elements of one row of a tensor: a number, or a list in the order of the columns. */
function rowOf({ shape, data }: Tensor, row: number): unknown {
  const width = shape.slice(1).reduce((product, length) => product * length, 1);
  return shape.length === 1 ? data[row] : data.slice(row * width, (row + 1) * width);
}

async function csvFile(system: TestSystem, pipeline: string, events: Event[], output: string) {
  const text = stringify(events, { header: true, cast: { boolean: String } });
  const { http } = system.endpoints;
  const posted = await fetch(`${http}/v1/pipelines/${pipeline}/files`, {
    method: 'POST',
    body: fileForm(text, 'rows.csv'),
  });
  const job = await whenFinished(http, (await answered<JobAnswer>(posted)).job_id);
  if (job.state !== 'done') throw new Error(JSON.stringify(job));
  const result = await (await fetch(http + job.links.result)).text();
  return parse<Record<string, string>>(result, { columns: true }).map((row) => {
    if (row['prediction'] === undefined || row['prediction'] === '') throw new Error(JSON.stringify(row));
    const outputs = (row['outputs'] ? JSON.parse(row['outputs']) : {}) as Record<string, unknown>;
    return {
      score: Number(row['prediction']),
      label: row['label'] === undefined || row['label'] === '' ? null : row['label'],
      // Without the column, the model has only its one number.
      main: output in outputs ? outputs[output] : Number(row['prediction']),
    };
  });
}

async function answered<Body>(response: Response): Promise<Body> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${text.slice(0, 1000)}`);
  return JSON.parse(text) as Body;
}
