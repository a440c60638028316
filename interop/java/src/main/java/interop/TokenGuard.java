package interop;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Iterator;

/** Refuses calls that do not carry the one accepted token. */
final class TokenGuard implements ServerInterceptor {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final byte[] token;

  TokenGuard(String token) {
    this.token = token.getBytes(StandardCharsets.UTF_8);
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    if (!admits(headers)) {
      call.close(
          Status.UNAUTHENTICATED.withDescription("call credentials were not accepted"),
          new Metadata());
      return new ServerCall.Listener<>() {};
    }
    Context context = Context.current().withValue(Server.PRINCIPAL, "bearer");
    return Contexts.interceptCall(context, call, headers, next);
  }

  private boolean admits(Metadata headers) {
    // Metadata.get would return the last of several values. Two values mean
    // that someone on the way added one, so neither is trusted.
    Iterable<String> values = headers.getAll(AUTHORIZATION);
    if (values == null) {
      return false;
    }
    Iterator<String> iterator = values.iterator();
    String value = iterator.next();
    return !iterator.hasNext() && accepts(value);
  }

  private boolean accepts(String authorization) {
    int space = authorization.indexOf(' ');
    if (space < 0 || !authorization.substring(0, space).equalsIgnoreCase("Bearer")) {
      return false;
    }
    byte[] presented = authorization.substring(space + 1).getBytes(StandardCharsets.UTF_8);
    // Arrays.equals would stop at the first difference.
    return MessageDigest.isEqual(presented, token);
  }
}
