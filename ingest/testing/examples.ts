import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';

/** Returns the example event of a pipeline, from `examples/`. */
export function exampleEvent(pipeline: string): Record<string, unknown> {
  const path = join(packageRoot, 'examples', `${pipeline}.json`);
  return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
}

/** Returns a body with a CSV file of events, in the field `file`. */
export function csvUpload(...rows: Record<string, unknown>[]): FormData {
  const [first = {}] = rows;
  const lines = [Object.keys(first), ...rows.map((row) => Object.values(row))];
  const form = new FormData();
  form.set('file', new File([lines.map((cells) => cells.join(',')).join('\n')], 'rows.csv'));
  return form;
}

/** Returns a body with the version folder of a shipped model. @param changes - of its model.json. */
export function versionUpload(model: string, changes: object = {}): FormData {
  const folder = join(packageRoot, 'models', model, '1');
  const manifest = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as object;
  const form = new FormData();
  form.set('model.onnx', new File([readFileSync(join(folder, 'model.onnx'))], 'model.onnx'));
  form.set('model.json', new File([JSON.stringify({ ...manifest, ...changes })], 'model.json'));
  form.set('golden.json', new File([readFileSync(join(folder, 'golden.json'))], 'golden.json'));
  return form;
}
