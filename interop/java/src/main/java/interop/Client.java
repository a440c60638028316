package interop;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import countersign.demo.v1.GreeterOuterClass.HelloReply;
import countersign.demo.v1.GreeterOuterClass.HelloRequest;
import countersign.demo.v1.GreeterOuterClass.HelloStreamRequest;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.util.AdvancedTlsX509KeyManager;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.util.Iterator;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** The greeter as client. */
final class Client {
  static final Set<String> OPTIONS =
      Set.of("--target", "--ca", "--server-name", "--timeout-ms", "--stream");

  private static final Metadata.Key<String> CHALLENGE =
      Metadata.Key.of("www-authenticate", Metadata.ASCII_STRING_MARSHALLER);

  private static final Gson JSON =
      new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  /** What the client prints for the status OK. */
  private record Success(String code, String message, String principal) {}

  /** What the client prints for any other outcome. */
  private record Failure(String code, String message, String reason, String challenge) {}

  private Client() {}

  static void run(Options options) throws UsageException {
    String target =
        options.get("--target").orElseThrow(() -> new UsageException("expected --target"));
    System.out.println(JSON.toJson(outcome(target, options)));
  }

  private static Record outcome(String target, Options options) {
    ManagedChannel channel;
    try {
      ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(target, credentials(options));
      // The name that the certificate is checked against.
      options.get("--server-name").ifPresent(builder::overrideAuthority);
      channel = builder.build();
    } catch (IOException | GeneralSecurityException | IllegalArgumentException error) {
      return new Failure("LOCAL_ERROR", error.getMessage(), null, null);
    }
    AtomicReference<Metadata> headers = new AtomicReference<>();
    AtomicReference<Metadata> trailers = new AtomicReference<>();
    try {
      Channel observed =
          ClientInterceptors.intercept(
              channel, MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
      CallOptions settings =
          CallOptions.DEFAULT.withDeadlineAfter(
              options.number("--timeout-ms", 10_000), TimeUnit.MILLISECONDS);
      HelloReply reply = call(observed, settings, options.number("--stream", 0));
      return new Success("OK", reply.getMessage(), reply.getPrincipal());
    } catch (StatusRuntimeException error) {
      return describe(error, headers.get(), trailers.get());
    } finally {
      channel.shutdownNow();
    }
  }

  private static ChannelCredentials credentials(Options options)
      throws IOException, GeneralSecurityException {
    ChannelCredentials transport =
        options.plaintext() ? InsecureChannelCredentials.create() : tls(options);
    Optional<String> token = options.get("--token");
    if (token.isEmpty()) {
      return transport;
    }
    return CompositeChannelCredentials.create(transport, new BearerToken(token.get()));
  }

  private static ChannelCredentials tls(Options options)
      throws IOException, GeneralSecurityException {
    TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
    if (options.file("--ca").isPresent()) {
      builder.trustManager(options.file("--ca").get());
    }
    if (options.file("--cert").isPresent()) {
      // A key manager made from the files would keep a certificate back whose CA the server does
      // not name, and its refusal would go untested.
      AdvancedTlsX509KeyManager manager = new AdvancedTlsX509KeyManager();
      manager.updateIdentityCredentials(
          options.file("--cert").get(), options.file("--key").orElseThrow());
      builder.keyManager(manager);
    }
    return builder.build();
  }

  /** Makes the call; of a stream, the last reply counts. */
  private static HelloReply call(Channel channel, CallOptions settings, int count) {
    if (count == 0) {
      HelloRequest request = HelloRequest.newBuilder().setName("interop").build();
      return ClientCalls.blockingUnaryCall(channel, Greeter.SAY_HELLO, settings, request);
    }
    HelloStreamRequest request =
        HelloStreamRequest.newBuilder().setName("interop").setCount(count).build();
    Iterator<HelloReply> replies =
        ClientCalls.blockingServerStreamingCall(
            channel, Greeter.SAY_HELLO_STREAM, settings, request);
    HelloReply last = HelloReply.getDefaultInstance();
    while (replies.hasNext()) {
      last = replies.next();
    }
    return last;
  }

  private static Failure describe(
      StatusRuntimeException error, Metadata headers, Metadata trailers) {
    String challenge = null;
    // The metadata of a refusal may come before or with its status, or both
    // may be missing.
    for (Metadata metadata : new Metadata[] {headers, trailers}) {
      if (metadata != null && challenge == null) {
        challenge = metadata.get(CHALLENGE);
      }
    }
    String message = error.getStatus().getDescription();
    return new Failure(
        error.getStatus().getCode().name(),
        withCause(message == null ? "" : message, error.getStatus().getCause()),
        reason(error),
        challenge);
  }

  /** Adds the causes that grpc-java keeps out of the status message. */
  private static String withCause(String message, Throwable cause) {
    StringBuilder text = new StringBuilder(message);
    for (Throwable next = cause; next != null; next = next.getCause()) {
      text.append(": ").append(next);
    }
    return text.toString();
  }

  private static String reason(StatusRuntimeException error) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          return detail.unpack(ErrorInfo.class).getReason();
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      throw new IllegalStateException("the details of the status cannot be read", unreadable);
    }
    return null;
  }
}
