package interop;

import java.io.File;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** The options of one command, by name. */
final class Options {
  private static final Set<String> COMMON = Set.of("--cert", "--key", "--token");

  private final Map<String, String> values;

  private Options(Map<String, String> values) {
    this.values = values;
  }

  /** Reads the common options and {@code own} ones; each of them takes a value. */
  static Options parse(String[] args, Set<String> own) throws UsageException {
    Map<String, String> values = new HashMap<>();
    for (int next = 0; next < args.length; next++) {
      String name = args[next];
      if (name.equals("--plaintext")) {
        values.put(name, "");
      } else if (!COMMON.contains(name) && !own.contains(name)) {
        throw new UsageException("unknown option " + name);
      } else if (++next == args.length) {
        throw new UsageException(name + " wants a value");
      } else {
        values.put(name, args[next]);
      }
    }
    Options options = new Options(values);
    if (options.get("--cert").isPresent() != options.get("--key").isPresent()) {
      throw new UsageException("--cert and --key belong together");
    }
    if (options.plaintext() && options.get("--cert").isPresent()) {
      throw new UsageException("--plaintext excludes --cert");
    }
    return options;
  }

  Optional<String> get(String name) {
    return Optional.ofNullable(values.get(name));
  }

  Optional<File> file(String name) {
    return get(name).map(File::new);
  }

  int number(String name, int otherwise) {
    return get(name).map(Integer::parseInt).orElse(otherwise);
  }

  boolean plaintext() {
    return values.containsKey("--plaintext");
  }
}
