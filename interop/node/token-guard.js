// The server's side of call credentials.

import { createHash, timingSafeEqual } from 'node:crypto';

import grpc from '@grpc/grpc-js';

// An interceptor that refuses calls without the one accepted token. It runs
// for every kind of method.
export function tokenGuard(token) {
  const accepted = digest(token);

  const admits = (metadata) => {
    // Two values mean that someone on the way added one, so neither is trusted.
    // Here that is only half true: of two `authorization` fields, Node.js's
    // HTTP/2 keeps the first and drops the second before grpc-js sees it.
    const values = metadata.get('authorization');
    if (values.length !== 1) {
      return false;
    }
    const [, scheme, presented] = /^([^ ]*) (.*)$/s.exec(values[0]) ?? [];
    return scheme?.toLowerCase() === 'bearer' && timingSafeEqual(digest(presented), accepted);
  };

  return (_method, call) =>
    new grpc.ServerInterceptingCall(call, {
      start(next) {
        next({
          onReceiveMetadata(metadata, next) {
            if (admits(metadata)) {
              next(metadata);
            } else {
              // Without `next`, the call never reaches its method.
              call.sendStatus({
                code: grpc.status.UNAUTHENTICATED,
                details: 'call credentials were not accepted',
              });
            }
          },
        });
      },
    });
}

// timingSafeEqual takes values of one length only.
function digest(token) {
  return createHash('sha256').update(token).digest();
}
