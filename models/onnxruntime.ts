// onnxruntime for threads and processes that do nothing else. onnxruntime-common uses a Float16Array where
// there is one (Node 24), which onnxruntime-node 1.30 reads as empty. Without it, both use the bits.
Reflect.deleteProperty(globalThis, 'Float16Array');

export { InferenceSession, Tensor } from 'onnxruntime-node';
