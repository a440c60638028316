package interop;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.util.concurrent.Executor;

/** The call credential of the client. */
final class BearerToken extends CallCredentials {
  private final String token;

  BearerToken(String token) {
    this.token = token;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    // grpc-java leaves this to each credential: without the check, the token
    // would go out over plaintext.
    if (call.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(
          Status.UNAUTHENTICATED.withDescription(
              "the connection's security level is " + call.getSecurityLevel()));
      return;
    }
    Metadata headers = new Metadata();
    headers.put(TokenGuard.AUTHORIZATION, "Bearer " + token);
    applier.apply(headers);
  }
}
