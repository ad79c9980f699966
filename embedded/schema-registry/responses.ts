/** JSON with the content type of the registry's API. */
export function reply(body: unknown, status = 200): Response {
  return replyText(JSON.stringify(body), status);
}

/** Text that is JSON already. */
export function replyText(text: string, status = 200): Response {
  return new Response(text, {
    status,
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
  });
}
