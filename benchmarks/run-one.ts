// The process of one benchmark: see main.ts.
import type { Benchmark } from './benchmark.js';

// As cli/main.ts does.
process.env['UV_THREADPOOL_SIZE'] ??= '16';

const [name = '', scale = '1'] = process.argv.slice(2);
const { benchmark } = (await import(`./${name}/benchmark.js`)) as { benchmark: Benchmark };
const figures = await benchmark.run(Number(scale), (step) => console.error(`${name}: ${step} …`));
process.send?.(figures, () => process.disconnect());
