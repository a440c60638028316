// A certified OpenID provider on the loopback address, and a second door to steer it by.
//
//   node provider.js CERTIFICATES
//
// The folder holds `ca.pem`, `server.pem`, `server.key`, `client.pem` and `self-signed.pem`. It
// prints one line of JSON, `{"issuer": .., "control": ..}`, and serves until its standard input
// ends.
//
// The control door, plain http:
//   GET  /counts       how often each path of the provider was asked
//   POST /keys/add     makes a signing key and publishes it; the old one goes on signing
//   POST /keys/use     signs with the newest key; the old one stays published
//   POST /keys/drop    publishes the newest key alone
//   POST /break        every request is answered with 503, until
//   POST /mend         it is not
//   POST /consent/ID   the user `alice` consents to what the client ID may ask for: its refresh
//                      token, as the end of a code flow gives it

import { X509Certificate, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';

import { Provider, errors } from 'oidc-provider';

import { clients } from './clients.js';
import { register } from './grants.js';
import { storage } from './storage.js';

// Standard output is for the one line.
console.info = console.error;

const folder = process.argv[2];
const read = (name) => readFileSync(join(folder, name));
const Adapter = storage();
const counts = new Map();
let number = 0;
let keys = [newKey()];
const nonceSecret = randomBytes(32);
let broken = false;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  number += 1;
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${number}`, use: 'sig', alg: 'RS256' };
}

// The client's certificate, if the TLS connection has one, whoever signed it.
function certificateOf(ctx) {
  const { raw } = ctx.req.socket.getPeerCertificate();
  return raw && new X509Certificate(raw);
}

// A token for `https://orders.test/jwt` is a JWT (RFC 9068), for `/opaque` it is opaque. Both are
// for the audience `orders`; below `/billing` they are for another.
function resource(indicator) {
  const url = new URL(indicator);
  const [, format, other] = url.pathname.split('/');
  if (url.origin !== 'https://orders.test' || !['jwt', 'opaque'].includes(format)) {
    throw new errors.InvalidTarget();
  }
  return {
    scope: 'read write',
    audience: other ?? 'orders',
    accessTokenTTL: 600,
    accessTokenFormat: format,
    ...(format === 'jwt' && { jwt: { sign: { alg: 'RS256' } } }),
  };
}

function provider(issuer) {
  const made = new Provider(issuer, {
    adapter: Adapter,
    clients: clients(read('client.pem'), read('self-signed.pem')),
    jwks: { keys },
    scopes: ['offline_access', 'openid', 'read', 'write'],
    findAccount: async (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    // Each refresh token is good once, and one that comes again ends all that it led to.
    rotateRefreshToken: true,
    ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 3600, IdToken: 600, RefreshToken: 3600 },
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'private_key_jwt',
      'tls_client_auth',
      'self_signed_tls_client_auth',
    ],
    cookies: { keys: ['only loopback'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true, allowedPolicy: async () => true },
      dPoP: {
        enabled: true,
        nonceSecret,
        requireNonce: (ctx) => ctx.oidc.client?.clientId.endsWith('-nonce') ?? false,
      },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: certificateOf,
        certificateAuthorized: (ctx) => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === 'tls_client_auth_san_uri' &&
          certificateOf(ctx)?.subjectAltName === `URI:${expected}`,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: (_ctx, indicator) => resource(indicator),
      },
    },
  });
  made.on('server_error', (_ctx, error) => console.error(error));
  register(made, resource);
  return made;
}

// What a user's consent to all resources leaves behind, without the browser that asks for it.
async function consent(made, clientId) {
  const origin = 'https://orders.test';
  const resources = ['/jwt', '/jwt/billing', '/opaque', '/opaque/billing'];
  const grant = new made.Grant({ accountId: 'alice', clientId });
  grant.addOIDCScope('offline_access openid');
  for (const path of resources) grant.addResourceScope(origin + path, 'read write');
  const token = new made.RefreshToken({
    accountId: 'alice',
    client: await made.Client.find(clientId),
    grantId: await grant.save(),
    gty: 'authorization_code',
    resource: resources.map((path) => origin + path),
    rotations: 0,
    scope: 'offline_access openid read write',
  });
  return token.save();
}

const listen = (server) =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });

let made;
let answer;
const door = https.createServer(
  {
    cert: read('server.pem'),
    key: read('server.key'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: false,
  },
  (request, response) => {
    const path = request.url.split('?')[0];
    counts.set(path, (counts.get(path) ?? 0) + 1);
    if (broken) {
      response.writeHead(503).end('out of order');
      return;
    }
    answer(request, response);
  },
);
const issuer = `https://localhost:${await listen(door)}`;

function start() {
  made = provider(issuer);
  answer = made.callback();
}
start();

const control = http.createServer((request, response) => {
  const done = (value) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  const [, verb, id] = request.url.split('/');
  if (request.method === 'POST' && verb === 'consent') {
    consent(made, id).then(done, (error) => response.writeHead(500).end(error.stack));
    return undefined;
  }
  switch (`${request.method} ${request.url}`) {
    case 'GET /counts':
      return done(Object.fromEntries(counts));
    case 'POST /keys/add':
      keys = [...keys, newKey()];
      break;
    case 'POST /keys/use':
      keys = [keys.at(-1), ...keys.slice(0, -1)];
      break;
    case 'POST /keys/drop':
      keys = keys.slice(0, 1);
      break;
    case 'POST /break':
      broken = true;
      return done({});
    case 'POST /mend':
      broken = false;
      return done({});
    default:
      response.writeHead(404).end();
      return undefined;
  }
  start();
  return done(keys.map(({ kid }) => kid));
});
console.log(JSON.stringify({ issuer, control: `http://127.0.0.1:${await listen(control)}` }));

process.stdin.on('end', () => process.exit(0)).resume();
