// The @grpc/grpc-js peer: the greeter of the interop tests as server and as
// client.
//
// The command line is described in ../README.md.

import { parseArgs } from 'node:util';

import * as client from './client.js';
import * as server from './server.js';

const common = {
  cert: { type: 'string' },
  key: { type: 'string' },
  token: { type: 'string' },
  plaintext: { type: 'boolean', default: false },
};

function main([command, ...args]) {
  const module = { client, server }[command];
  if (module === undefined) {
    throw new Error('expected `server` or `client`');
  }
  const { values } = parseArgs({ args, options: { ...common, ...module.options } });
  if ((values.cert === undefined) !== (values.key === undefined)) {
    throw new Error('--cert and --key belong together');
  }
  if (values.plaintext && values.cert !== undefined) {
    throw new Error('--plaintext excludes --cert');
  }
  return module.run(values);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 2;
}
