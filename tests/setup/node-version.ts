/** Checks in each test process that it runs on the Node that scripts/with-node.mjs was asked for. */
const expected = process.env['MILLRACE_EXPECTED_NODE'];
if (expected !== undefined && process.version !== expected)
  throw new Error(`This is Node ${process.version}; the tests were to run on ${expected}.`);
