import { KafkaBroker } from '../broker.js';

// A broker in a process of its own, so that a test can kill it: broker-process.js <data folder> <port>
const [dataDir = '', port = '0'] = process.argv.slice(2);
const broker = new KafkaBroker({ dataDir, port: Number(port) });
const started = await broker.start();
process.send?.(started.port);
