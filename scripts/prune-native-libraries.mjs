// Removes the native libraries of other platforms: onnxruntime-node ships 210 MB for all of them.
//
//   node scripts/prune-native-libraries.mjs     in the folder of node_modules
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const binaries = join('node_modules', 'onnxruntime-node', 'bin');
for (const abi of readdirSync(binaries)) {
  keepOnly(process.platform, join(binaries, abi));
  keepOnly(process.arch, join(binaries, abi, process.platform));
}

function keepOnly(name, folder) {
  if (!existsSync(join(folder, name))) {
    console.error(
      `onnxruntime-node has nothing for ${name} in ${folder}: it runs on linux-x64 and linux-arm64.`,
    );
    process.exit(1);
  }
  for (const other of readdirSync(folder))
    if (other !== name) rmSync(join(folder, other), { recursive: true });
}
