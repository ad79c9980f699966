import { KafkaBroker } from '../broker.js';

// A broker in a separate process, so that a test can kill it: broker-process.js <data folder> <port>. Prints
// its port.
const [dataDir = '', port = '0'] = process.argv.slice(2);
const broker = new KafkaBroker({ dataDir, port: Number(port) });
const started = await broker.start();
if (process.send === undefined) process.stdout.write(`${started.port}\n`);
else process.send(started.port);
