package interop;

import io.grpc.Context;
import io.grpc.InsecureServerCredentials;
import io.grpc.ServerCredentials;
import io.grpc.TlsServerCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.Optional;
import java.util.Set;

/** The greeter as server. */
final class Server {
  static final Set<String> OPTIONS = Set.of("--listen", "--client-ca");

  /** As whom the server knows the caller; empty for a stranger. */
  static final Context.Key<String> PRINCIPAL = Context.keyWithDefault("principal", "");

  private Server() {}

  static void run(Options options) throws UsageException, IOException {
    String listen = options.get("--listen").orElse("127.0.0.1:0");
    int colon = listen.lastIndexOf(':');
    String host = listen.substring(0, colon);
    int port = Integer.parseInt(listen.substring(colon + 1));

    // A builder made from a port alone would listen on every interface.
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(new InetSocketAddress(host, port), credentials(options))
            .addService(Greeter.service());
    // The interceptor that was added last runs first, and one covers every
    // kind of method.
    Optional<String> token = options.get("--token");
    if (token.isPresent()) {
      builder.intercept(new TokenGuard(token.get()));
    } else {
      builder.intercept(new CertificatePrincipal());
    }
    io.grpc.Server server = builder.build().start();
    // A JVM that SIGTERM ends would exit with 143.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
    System.out.println("listening " + host + ":" + server.getPort());
    System.out.flush();

    try (InputStream input = System.in) {
      input.transferTo(OutputStream.nullOutputStream());
    }
    server.shutdownNow();
    System.exit(0);
  }

  private static ServerCredentials credentials(Options options) throws UsageException, IOException {
    Optional<File> clientCa = options.file("--client-ca");
    if (options.plaintext()) {
      if (clientCa.isPresent()) {
        throw new UsageException("--plaintext excludes --client-ca");
      }
      return InsecureServerCredentials.create();
    }
    if (options.file("--cert").isEmpty()) {
      throw new UsageException("expected --cert and --key, or --plaintext");
    }
    TlsServerCredentials.Builder builder =
        TlsServerCredentials.newBuilder()
            .keyManager(options.file("--cert").orElseThrow(), options.file("--key").orElseThrow());
    if (clientCa.isPresent()) {
      builder
          .trustManager(clientCa.get())
          .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE);
    }
    return builder.build();
  }
}
