// The greeter as client.

import { readFileSync } from 'node:fs';

import grpc from '@grpc/grpc-js';

import { Greeter, reasonIn } from './protocol.js';

export const options = {
  target: { type: 'string' },
  ca: { type: 'string' },
  'server-name': { type: 'string' },
  'timeout-ms': { type: 'string', default: '10000' },
  stream: { type: 'string', default: '0' },
};

export async function run(options) {
  if (options.target === undefined) {
    throw new Error('expected --target');
  }
  console.log(JSON.stringify(await outcome(options)));
}

async function outcome(options) {
  let client;
  try {
    client = new Greeter(options.target, channelCredentials(options), channelOptions(options));
  } catch (error) {
    return { code: 'LOCAL_ERROR', message: error.message, reason: null, challenge: null };
  }
  const deadline = Date.now() + Number(options['timeout-ms']);
  const count = Number(options.stream);
  try {
    const { message, principal } = await (count > 0
      ? callStream(client, count, { deadline })
      : callUnary(client, { deadline }));
    return { code: 'OK', message, principal };
  } catch (failure) {
    return describe(failure);
  } finally {
    client.close();
  }
}

function channelCredentials(options) {
  const transport = options.plaintext ? grpc.credentials.createInsecure() : tlsCredentials(options);
  if (options.token === undefined) {
    return transport;
  }
  const token = grpc.credentials.createFromMetadataGenerator((_parameters, callback) => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${options.token}`);
    callback(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(transport, token);
}

function tlsCredentials(options) {
  const read = (path) => (path === undefined ? null : readFileSync(path));
  return grpc.credentials.createSsl(read(options.ca), read(options.key), read(options.cert));
}

function channelOptions(options) {
  const name = options['server-name'];
  if (name === undefined) {
    return {};
  }
  // grpc-js checks the certificate against the target, whatever authority the
  // calls carry, so the name has to be given for both.
  return { 'grpc.default_authority': name, 'grpc.ssl_target_name_override': name };
}

// Both kinds of call reject with { error, header }: the metadata of a refusal
// may come before or with its status.

function callUnary(client, settings) {
  return new Promise((resolve, reject) => {
    let header;
    client
      .SayHello({ name: 'interop' }, settings, (error, reply) =>
        error ? reject({ error, header }) : resolve(reply),
      )
      .on('metadata', (metadata) => (header = metadata));
  });
}

function callStream(client, count, settings) {
  return new Promise((resolve, reject) => {
    let header;
    let last;
    client
      .SayHelloStream({ name: 'interop', count }, settings)
      .on('metadata', (metadata) => (header = metadata))
      .on('data', (reply) => (last = reply))
      .on('error', (error) => reject({ error, header }))
      .on('end', () => resolve(last));
  });
}

function describe({ error, header }) {
  const first = (key) => header?.get(key)[0] ?? error.metadata?.get(key)[0] ?? null;
  const details = first('grpc-status-details-bin');
  return {
    code: grpc.status[error.code],
    message: error.details,
    reason: details && reasonIn(details),
    challenge: first('www-authenticate'),
  };
}
