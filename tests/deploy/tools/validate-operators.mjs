// Validates resources of operators (KEDA, Prometheus Operator, External Secrets) against the schemas in npm
// packages.
//
//   node validate-operators.mjs <folder of the packages> < resources, a JSON list
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = {
  'keda.sh/v1alpha1': '@kubernetes-models/keda',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator',
  'external-secrets.io/v1': '@kubernetes-models/external-secrets',
};
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const resources = JSON.parse(Buffer.concat(chunks).toString('utf8'));
for (const { apiVersion, kind, ...rest } of resources) {
  const name = `${kind} ${rest.metadata?.name}`;
  const file = join(process.argv[2], packages[apiVersion], apiVersion, `${kind}.js`);
  const models = await import(pathToFileURL(file).href);
  try {
    new models[kind](rest).validate();
    console.log(`${name}: valid`);
  } catch (error) {
    console.log(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
}
