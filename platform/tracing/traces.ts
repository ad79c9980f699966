import { propagation, trace, type Tracer } from '@opentelemetry/api';
import type { Config } from '../config.js';
import type { Logger } from '../logger.js';
import { version } from '../version.js';

let isOn = false;

/** Whether traces are on. Batches check it once, so that an event costs nothing while they are off. */
export function isTracing(): boolean {
  return isOn;
}

/** Millrace's tracer. Its spans do nothing while traces are off. */
export function tracer(): Tracer {
  return trace.getTracer('millrace', version);
}

/**
 * Turns traces on for this process if `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Otherwise the SDK is not loaded.
 *
 * @param role - the service name is `millrace-<role>`, unless `OTEL_SERVICE_NAME` is set.
 */
export async function startTraces(
  config: Config,
  logger: Logger,
  role?: string,
): Promise<{ stop: () => Promise<void> }> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: disabled } = config;
  if (endpoint === undefined || disabled) return { stop: () => Promise.resolve() };
  const { startTraceExport } = await import('./trace-export.js');
  const provider = startTraceExport(role === undefined ? 'millrace' : `millrace-${role}`, logger);
  isOn = true;
  return {
    stop: async () => {
      await provider.stop();
      isOn = false;
      trace.disable();
      propagation.disable();
    },
  };
}
