import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { messageOf } from '../platform/errors.js';
import { graphMisfits } from './graph-check.js';
import type { WorkerModel } from './model-thread.js';
import { withFloatOutput, zipMapsOf } from './onnx-file.js';
import { type OutputTensor, outputTensorsOf } from './outputs.js';
import { type InputTensor, inputTensorsOf, type TensorData } from './tensors.js';

/** onnxruntime, as loaded by the caller. */
export interface Onnxruntime {
  InferenceSession: typeof InferenceSession;
  Tensor: typeof Tensor;
}

/** Maximum number of misfits in an error. */
const maxMisfits = 3;

/** A graph that onnxruntime has opened, in the calling thread. */
export class ModelSession {
  readonly #session: InferenceSession;
  readonly #Tensor: Onnxruntime['Tensor'];
  readonly #inputs: readonly InputTensor[];
  /** Outputs of the graph to fetch: for a ZipMap the tensor before it. */
  readonly #fetched: readonly string[];
  /** Inputs whose rows are scalars in a tensor with the batch as its only dimension. */
  readonly #flatInputs: ReadonlySet<string>;

  private constructor(
    session: InferenceSession,
    tensor: Onnxruntime['Tensor'],
    inputs: readonly InputTensor[],
    fetched: readonly string[],
  ) {
    this.#session = session;
    this.#Tensor = tensor;
    this.#inputs = inputs;
    this.#fetched = fetched;
    const flat = session.inputMetadata.filter((input) => input.isTensor && input.shape.length === 1);
    this.#flatInputs = new Set(flat.map(({ name }) => name));
  }

  /** @throws Error that says why the graph cannot be opened, or does not fit the manifest. */
  static async open(
    { InferenceSession, Tensor }: Onnxruntime,
    { onnx, manifest }: WorkerModel,
  ): Promise<ModelSession> {
    const zipMaps = zipMapsOf(onnx);
    const wanted = outputTensorsOf(manifest);
    const zipped = wanted.flatMap((name) => zipMaps.get(name)?.tensor ?? []);
    const fetched = wanted.map((name) => zipMaps.get(name)?.tensor ?? name);
    let opened: InferenceSession;
    try {
      opened = await InferenceSession.create(zipped.reduce(withFloatOutput, onnx), {
        executionProviders: ['cpu'],
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        logSeverityLevel: 4, // errors are returned, so onnxruntime does not need to print them
      });
    } catch (error) {
      throw new Error(`onnxruntime cannot open it: ${messageOf(error)}. Export it again`, { cause: error });
    }
    const { inputMetadata: inputs, outputMetadata: outputs } = opened;
    const misfits = graphMisfits(manifest, { inputs, outputs, zipMaps });
    if (misfits.length > 0) throw new Error(misfits.slice(0, maxMisfits).join('; '));
    return new ModelSession(opened, Tensor, inputTensorsOf(manifest), fetched);
  }

  /**
   * Runs the graph on the calling thread: onnxruntime-node 1.30's run() looks asynchronous, but is a
   * setImmediate around a synchronous call.
   *
   * @param data - the elements of each of `inputTensorsOf`, for `count` rows.
   * @returns the output tensors, in the order of `outputTensorsOf`.
   * @throws onnxruntime's errors.
   */
  async run(data: readonly TensorData[], count: number): Promise<OutputTensor[]> {
    const feeds: Record<string, Tensor> = {};
    for (const [index, input] of this.#inputs.entries())
      feeds[input.name] = this.#toTensor(input, data[index] ?? [], count);
    const results = await this.#session.run(feeds, this.#fetched);
    return this.#fetched.map((name) => {
      const tensor = results[name];
      if (tensor === undefined) throw new Error(`the output ${name} is missing`);
      const { type: dtype, dims } = tensor;
      return { dtype, dims, data: tensor.data } as OutputTensor;
    });
  }

  release(): Promise<void> {
    return this.#session.release();
  }

  #toTensor({ name, dtype, shape, width }: InputTensor, data: TensorData, count: number): Tensor {
    const inner = shape ?? (this.#flatInputs.has(name) ? [] : [width]);
    // The constructor is overloaded by dtype; the data was made for this one.
    return new this.#Tensor(dtype as 'float32', data as Float32Array, [count, ...inner]);
  }
}
