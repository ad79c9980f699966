// Probes the process of this container, and exits with 0 if it is healthy. The image has no curl.
//
//   node scripts/probe.mjs /health/ready
const [path = '/health/live'] = process.argv.slice(2);
const url = `http://127.0.0.1:${process.env.PORT || 8080}${path}`;
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(4_000) });
  console.log(await response.text());
  process.exitCode = response.ok ? 0 : 1;
} catch (error) {
  console.error(`${url}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
