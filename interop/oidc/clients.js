// Who may ask the provider for what. Secrets are for tests on the loopback address alone.

import { X509Certificate } from 'node:crypto';

const job = {
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: 'client_secret_basic',
  scope: 'read write',
};

// Asks about tokens and never for one.
const service = { ...job, grant_types: [] };

// `certificate`: what the client shows in TLS, and whose key it signs with.
export function clients(certificate) {
  const jwk = new X509Certificate(certificate).publicKey.export({ format: 'jwk' });
  return [
    { ...job, client_id: 'job', client_secret: 'job-secret' },
    {
      ...job,
      client_id: 'job-bound',
      client_secret: 'job-bound-secret',
      tls_client_certificate_bound_access_tokens: true,
    },
    // Characters that have to be encoded before they are joined (RFC 6749 §2.3.1).
    { ...service, client_id: 'orders:basic', client_secret: 'p%1 +:/=&' },
    {
      ...service,
      client_id: 'orders-post',
      client_secret: 'orders-post-secret',
      token_endpoint_auth_method: 'client_secret_post',
    },
    {
      ...service,
      client_id: 'orders-key',
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [{ ...jwk, kid: 'orders-1', use: 'sig', alg: 'ES256' }] },
    },
    {
      ...service,
      client_id: 'orders-mtls',
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_uri: 'spiffe://interop.test/client',
    },
  ];
}
