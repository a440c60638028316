// The greeter as server.

import { readFileSync } from 'node:fs';

import grpc from '@grpc/grpc-js';

import { Greeter } from './protocol.js';
import { tokenGuard } from './token-guard.js';

export const options = {
  listen: { type: 'string', default: '127.0.0.1:0' },
  'client-ca': { type: 'string' },
};

export async function run(options) {
  const credentials = serverCredentials(options);
  const guarded = options.token !== undefined;
  const server = new grpc.Server({ interceptors: guarded ? [tokenGuard(options.token)] : [] });
  // The guard lets nobody else through to the methods.
  const principalOf = guarded ? () => 'bearer' : certificatePrincipal;
  server.addService(Greeter.service, greeter(principalOf));

  const port = await new Promise((resolve, reject) => {
    server.bindAsync(options.listen, credentials, (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  // Whoever reads the line may send the signal at once.
  const end = ended();
  const host = options.listen.slice(0, options.listen.lastIndexOf(':'));
  console.log(`listening ${host}:${port}`);

  await end;
  server.forceShutdown();
  process.exit(0);
}

function serverCredentials(options) {
  const clientCA = options['client-ca'];
  if (options.plaintext) {
    if (clientCA !== undefined) {
      throw new Error('--plaintext excludes --client-ca');
    }
    return grpc.ServerCredentials.createInsecure();
  }
  if (options.cert === undefined) {
    throw new Error('expected --cert and --key, or --plaintext');
  }
  const pair = { cert_chain: readFileSync(options.cert), private_key: readFileSync(options.key) };
  const roots = clientCA === undefined ? null : readFileSync(clientCA);
  return grpc.ServerCredentials.createSsl(roots, [pair], clientCA !== undefined);
}

// Resolves when standard input ends or SIGTERM arrives.
function ended() {
  return new Promise((resolve) => {
    process.stdin.on('end', resolve).resume();
    process.on('SIGTERM', resolve);
  });
}

function greeter(principalOf) {
  const greet = (call) => ({
    message: `Hello, ${call.request.name}`,
    principal: principalOf(call),
  });
  return {
    SayHello(call, callback) {
      callback(null, greet(call));
    },
    SayHelloStream(call) {
      for (let sent = 0; sent < call.request.count; sent += 1) {
        call.write(greet(call));
      }
      call.end();
    },
  };
}

// The first URI SAN, else the DNS SAN, else the subject's common name.
function certificatePrincipal(call) {
  // grpc-js shows a certificate only if the handshake accepted it.
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined) {
    return '';
  }
  const names = (certificate.subjectaltname ?? '').split(', ');
  for (const kind of ['URI:', 'DNS:']) {
    const name = names.find((name) => name.startsWith(kind));
    if (name !== undefined) {
      return name.slice(kind.length);
    }
  }
  return certificate.subject?.CN ?? '';
}
