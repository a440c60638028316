// Two grants that the provider does not have. They are ours, written as its documentation has it
// (`registerGrantType`), and say less about interoperability than the provider's own: what asks
// and what answers were read from the same RFCs by the same people.

import { createLocalJWKSet, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

export const ours = [TOKEN_EXCHANGE, JWT_BEARER];

// `resource` tells what a resource indicator stands for.
export function register(provider, resource) {
  // An access token for the account, for the one resource that is asked for.
  async function give(ctx, accountId) {
    const { client, params } = ctx.oidc;
    const resourceServer = new provider.ResourceServer(params.resource, resource(params.resource));
    const token = new provider.AccessToken({
      accountId,
      client,
      gty: params.grant_type,
      resourceServer,
      scope: params.scope,
    });
    ctx.body = {
      access_token: await token.save(),
      expires_in: token.expiration,
      token_type: token.tokenType,
    };
  }

  // RFC 8693, of the provider's own opaque tokens.
  async function exchange(ctx) {
    const { params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN) {
      throw new errors.InvalidRequest('subject_token_type');
    }
    if (params.requested_token_type !== ACCESS_TOKEN) {
      throw new errors.InvalidRequest('requested_token_type');
    }
    const subject =
      (await provider.ClientCredentials.find(params.subject_token)) ??
      (await provider.AccessToken.find(params.subject_token));
    if (!subject?.isValid) throw new errors.InvalidGrant('the subject token is not known');
    await give(ctx, subject.accountId ?? subject.clientId);
    ctx.body.issued_token_type = ACCESS_TOKEN;
  }

  // RFC 7523 §2.1 and §3, by the keys that the client is registered with.
  async function bearer(ctx) {
    const { client, params } = ctx.oidc;
    let payload;
    try {
      ({ payload } = await jwtVerify(params.assertion, createLocalJWKSet(client.jwks), {
        algorithms: ['ES256'],
        audience: ctx.oidc.urlFor('token'),
        issuer: client.clientId,
        requiredClaims: ['exp', 'jti', 'sub'],
      }));
    } catch (cause) {
      throw new errors.InvalidGrant(`the assertion: ${cause.message}`);
    }
    const { exp, iss, jti, sub } = payload;
    if (!(await provider.ReplayDetection.unique(iss, jti, exp))) {
      throw new errors.InvalidGrant('the assertion was used before');
    }
    await give(ctx, sub);
  }

  const common = ['resource', 'scope'];
  provider.registerGrantType(TOKEN_EXCHANGE, exchange, [
    ...common,
    'requested_token_type',
    'subject_token',
    'subject_token_type',
  ]);
  provider.registerGrantType(JWT_BEARER, bearer, [...common, 'assertion']);
}
