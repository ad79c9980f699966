import autocannon from 'autocannon';

/**
 * Posts a body over keep-alive connections, again and again. @throws Error if a request is refused or fails.
 */
export async function post(
  url: string,
  body: string,
  connections: number,
  seconds: number,
): Promise<{ count: number; perSecond: number; milliseconds: number }> {
  const result = await autocannon({
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    connections,
    duration: seconds,
  });
  if (result.non2xx + result.errors > 0)
    throw new Error(`${url}: ${result.non2xx} refusals and ${result.errors} errors.`);
  const count = result.requests.total;
  return { count, perSecond: count / result.duration, milliseconds: result.latency.mean };
}
