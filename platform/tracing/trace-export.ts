import { diag, DiagLogLevel } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node';
import {
  ATTR_SERVICE_INSTANCE_ID,
  ATTR_SERVICE_NAME,
  ATTR_SERVICE_VERSION,
} from '@opentelemetry/semantic-conventions';
import { randomUUID } from 'node:crypto';
import { messageOf } from '../errors.js';
import type { Logger } from '../logger.js';
import { version } from '../version.js';

/** How long sending the remaining spans may take, milliseconds. */
const flushMs = 2_000;

type ExportResultCode = Parameters<Parameters<SpanExporter['export']>[1]>[0]['code'];
// oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- its package is the SDK's own, and no dependency of ours
const succeeded = 0 as ExportResultCode;

/**
 * Registers the SDK, which sends spans with OTLP over HTTP, as JSON. OpenTelemetry's environment variables
 * configure it (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
 * …/protocol/exporter/). While `OTEL_BSP_MAX_QUEUE_SIZE` spans wait, further ones are dropped.
 *
 * @returns `stop` sends the remaining spans, for at most two seconds. It never fails.
 */
export function startTraceExport(service: string, logger: Logger): { stop: () => Promise<void> } {
  logOnce(logger);
  const resource = defaultResource()
    .merge(
      resourceFromAttributes({
        [ATTR_SERVICE_NAME]: service,
        [ATTR_SERVICE_VERSION]: version,
        [ATTR_SERVICE_INSTANCE_ID]: randomUUID(),
      }),
    )
    .merge(detectResources({ detectors: [envDetector] }));
  const exporter = withOneWarning(new OTLPTraceExporter(), logger);
  const provider = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(exporter)] });
  // Contexts are passed on as arguments.
  provider.register({ contextManager: null });
  return {
    stop: async () => {
      const late = new Promise<void>((resolve) => setTimeout(resolve, flushMs).unref());
      // The log has a warning already if the collector is down.
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
    },
  };
}

/** Logs each warning of the SDK once. It repeats them, for example about an invalid variable. */
function logOnce(logger: Logger): void {
  const told = new Set<string>();
  const tell = (message: string, ...details: unknown[]): void => {
    const text = [message, ...details].map(String).join(' ');
    const words = text.replaceAll(/\d+/g, '#');
    if (told.has(words) || told.size > 100) return;
    told.add(words);
    logger.warn(`Traces: ${text}`);
  };
  const ignore = (): void => undefined;
  diag.setLogger(
    { error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}

/** Warns once while spans can't be sent, and logs the number of lost spans afterwards. */
function withOneWarning(exporter: SpanExporter, logger: Logger): SpanExporter {
  let lost = 0;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.error !== undefined) {
          if (lost === 0)
            logger.warn(
              `Traces can't be sent: ${messageOf(result.error) || 'no answer'}. Check OTEL_EXPORTER_OTLP_ENDPOINT. Events go on without them.`,
            );
          lost += spans.length;
        } else if (lost > 0) {
          logger.info({ spansLost: lost }, 'traces are sent again');
          lost = 0;
        }
        // Otherwise the SDK logs each failed batch with its stack.
        done({ code: succeeded });
      }),
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush === undefined
      ? {}
      : { forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve() }),
  };
}
