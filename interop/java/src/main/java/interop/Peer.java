package interop;

import java.util.Arrays;

/**
 * The grpc-java peer: the greeter of the interop tests as server and as client.
 *
 * <p>The command line is described in {@code interop/README.md}.
 */
public final class Peer {
  private Peer() {}

  public static void main(String[] args) throws Exception {
    try {
      run(args);
    } catch (UsageException error) {
      System.err.println("error: " + error.getMessage());
      System.exit(2);
    }
  }

  private static void run(String[] args) throws Exception {
    String command = args.length == 0 ? "" : args[0];
    String[] rest = args.length == 0 ? args : Arrays.copyOfRange(args, 1, args.length);
    switch (command) {
      case "server" -> Server.run(Options.parse(rest, Server.OPTIONS));
      case "client" -> Client.run(Options.parse(rest, Client.OPTIONS));
      default -> throw new UsageException("expected `server` or `client`");
    }
  }
}
