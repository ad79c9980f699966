/**
 * The package `millrace`: what the code of a pipeline imports. `docs/projects.md` describes a project.
 *
 * @packageDocumentation
 */
export { definePipeline, type Feature, type Pipeline } from '../processors/pipelines/pipeline.js';
export { interpolate, pick } from '../processors/pipelines/sampler.js';
export { MillraceError } from '../platform/errors.js';
