// The messages and services, read from their definitions at start.

import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

function definition(path) {
  const folder = fileURLToPath(new URL('proto', import.meta.url));
  return loadSync(path, { includeDirs: [folder], defaults: true });
}

export const { Greeter } = grpc.loadPackageDefinition(
  definition('countersign/demo/v1/greeter.proto'),
).countersign.demo.v1;

const details = definition('details.proto');

// Finds the reason in the bytes of `grpc-status-details-bin`.
export function reasonIn(bytes) {
  for (const { type_url: type, value } of details['google.rpc.Status'].deserialize(bytes).details) {
    if (type.endsWith('/google.rpc.ErrorInfo')) {
      return details['google.rpc.ErrorInfo'].deserialize(value).reason;
    }
  }
  return null;
}
