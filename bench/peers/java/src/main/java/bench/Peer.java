package bench;

import countersign.bench.v1.EchoOuterClass;
import countersign.bench.v1.EchoOuterClass.Payload;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.ClientAuth;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * The grpc-java peer of the benchmark, an echo server.
 *
 * <p>The command line is described in {@code bench/peers/README.md}.
 */
public final class Peer {
  /** What any peer may be given. A mode takes no notice of those that it has no use for. */
  private static final Set<String> OPTIONS =
      Set.of("--cert", "--key", "--client-ca", "--jwt-public-key", "--issuer", "--audience");

  /** Held, as the logging library forgets the level of a logger that nobody holds. */
  private static final Logger LOGGER = Logger.getLogger("io.grpc");

  private Peer() {}

  public static void main(String[] args) throws Exception {
    try {
      serve(args);
    } catch (IllegalArgumentException error) {
      System.err.println("error: " + error.getMessage());
      System.exit(2);
    }
  }

  private static void serve(String[] args) throws Exception {
    if (args.length < 2 || !args[0].equals("serve")) {
      throw new IllegalArgumentException("expected `serve MODE`");
    }
    // A client that only shakes hands would cost a stack trace in the log.
    LOGGER.setLevel(Level.SEVERE);
    // Executor, threads and limits are the library's defaults. A builder made
    // from a port alone would listen on every interface.
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0)).addService(echo());
    secure(builder, args[1], options(args));
    Server server = builder.build().start();
    // A JVM that SIGTERM ends would exit with 143.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
    System.out.println("listening 127.0.0.1:" + server.getPort());
    System.out.flush();

    try (InputStream input = System.in) {
      input.transferTo(OutputStream.nullOutputStream());
    }
    server.shutdownNow();
    System.exit(0);
  }

  private static Map<String, String> options(String[] args) {
    Map<String, String> options = new HashMap<>();
    for (int next = 2; next < args.length; next += 2) {
      if (!OPTIONS.contains(args[next]) || next + 1 == args.length) {
        throw new IllegalArgumentException("unknown option or no value: " + args[next]);
      }
      options.put(args[next], args[next + 1]);
    }
    return options;
  }

  private static void secure(NettyServerBuilder builder, String mode, Map<String, String> options)
      throws Exception {
    switch (mode) {
      case "plain" -> {}
      case "tls" -> builder.sslContext(tls(options).build());
      case "mtls" ->
          builder.sslContext(
              tls(options)
                  .trustManager(file(options, "--client-ca"))
                  .clientAuth(ClientAuth.REQUIRE)
                  .build());
      default -> throw new IllegalArgumentException("unknown mode " + mode);
    }
  }

  private static SslContextBuilder tls(Map<String, String> options) {
    return GrpcSslContexts.forServer(file(options, "--cert"), file(options, "--key"))
        .protocols("TLSv1.3");
  }

  private static File file(Map<String, String> options, String name) {
    String file = options.get(name);
    if (file == null) {
      throw new IllegalArgumentException("expected " + name);
    }
    return new File(file);
  }

  /**
   * The service, bound by hand to its generated messages: the build could not resolve
   * protoc-gen-grpc-java's executable for Linux.
   */
  private static ServerServiceDefinition echo() {
    String service = EchoOuterClass.getDescriptor().findServiceByName("Echo").getFullName();
    MethodDescriptor<Payload, Payload> call =
        MethodDescriptor.<Payload, Payload>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(MethodDescriptor.generateFullMethodName(service, "Call"))
            .setRequestMarshaller(ProtoUtils.marshaller(Payload.getDefaultInstance()))
            .setResponseMarshaller(ProtoUtils.marshaller(Payload.getDefaultInstance()))
            .build();
    return ServerServiceDefinition.builder(service)
        .addMethod(call, ServerCalls.asyncUnaryCall(Peer::call))
        .build();
  }

  private static void call(Payload request, StreamObserver<Payload> replies) {
    replies.onNext(request);
    replies.onCompleted();
  }
}
