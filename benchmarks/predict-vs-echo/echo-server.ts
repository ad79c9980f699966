// The baseline, in a separate process: a route that parses the body and sends it back, on Millrace's HTTP
// server.
import { Hono } from 'hono';
import { serveHttp } from '../../ingest/server.js';

const app = new Hono();
app.post('/echo', async (c) => c.json(await c.req.json()));
const { port } = await serveHttp(app, '127.0.0.1', 0);
process.send?.({ port });
