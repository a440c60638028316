// Who may ask the provider for what. Secrets are for tests on the loopback address alone.

import { X509Certificate } from 'node:crypto';

import { ours } from './grants.js';

const job = {
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: 'client_secret_basic',
  scope: 'read write',
};

// Asks about tokens and never for one.
const service = { ...job, grant_types: [] };

// Has the consent of a user, and a refresh token for it.
const web = {
  ...job,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['https://web.test/callback'],
  scope: 'offline_access openid read write',
};

const byKey = (jwk) => ({
  token_endpoint_auth_method: 'private_key_jwt',
  token_endpoint_auth_signing_alg: 'ES256',
  jwks: { keys: [{ ...jwk, kid: 'orders-1', use: 'sig', alg: 'ES256' }] },
});

const byName = {
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_san_uri: 'spiffe://interop.test/client',
};

const jwkOf = (certificate) => certificate.publicKey.export({ format: 'jwk' });

// `certificate`: what the client shows in TLS, and whose key it signs with. `alone`: one that is
// signed by nobody else.
export function clients(certificate, alone) {
  const jwk = jwkOf(new X509Certificate(certificate));
  const lone = new X509Certificate(alone);
  return [
    { ...job, client_id: 'job', client_secret: 'job-secret' },
    {
      ...job,
      client_id: 'job-post',
      client_secret: 'job-post-secret',
      token_endpoint_auth_method: 'client_secret_post',
    },
    { ...job, ...byKey(jwk), client_id: 'job-key' },
    { ...job, ...byName, client_id: 'job-mtls' },
    {
      ...job,
      client_id: 'job-alone',
      token_endpoint_auth_method: 'self_signed_tls_client_auth',
      jwks: { keys: [{ ...jwkOf(lone), use: 'sig', x5c: [lone.raw.toString('base64')] }] },
    },
    {
      ...job,
      client_id: 'job-bound',
      client_secret: 'job-bound-secret',
      tls_client_certificate_bound_access_tokens: true,
    },
    {
      ...job,
      ...byName,
      client_id: 'job-mtls-bound',
      tls_client_certificate_bound_access_tokens: true,
    },
    // Its proofs need a nonce.
    {
      ...job,
      client_id: 'job-nonce',
      client_secret: 'job-nonce-secret',
      dpop_bound_access_tokens: true,
    },
    { ...web, client_id: 'web', client_secret: 'web-secret' },
    {
      ...web,
      client_id: 'web-nonce',
      client_secret: 'web-nonce-secret',
      dpop_bound_access_tokens: true,
    },
    { ...job, client_id: 'gateway', client_secret: 'gateway-secret', grant_types: ours },
    { ...job, ...byKey(jwk), client_id: 'robot', grant_types: ours },
    // Characters that have to be encoded before they are joined (RFC 6749 §2.3.1).
    { ...service, client_id: 'orders:basic', client_secret: 'p%1 +:/=&' },
    {
      ...service,
      client_id: 'orders-post',
      client_secret: 'orders-post-secret',
      token_endpoint_auth_method: 'client_secret_post',
    },
    { ...service, ...byKey(jwk), client_id: 'orders-key' },
    { ...service, ...byName, client_id: 'orders-mtls' },
  ];
}
