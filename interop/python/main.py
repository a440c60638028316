"""The grpcio peer: the greeter of the interop tests as server and as client.

The command line is described in ../README.md.
"""

import argparse
import sys

import client
import server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    for name, module in (("server", server), ("client", client)):
        command = commands.add_parser(name, allow_abbrev=False)
        command.add_argument("--cert", help="certificate chain, PEM")
        command.add_argument("--key", help="private key of --cert, PEM")
        command.add_argument("--token", help="bearer token")
        command.add_argument("--plaintext", action="store_true", help="no TLS")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args()
    if (options.cert is None) != (options.key is None):
        parser.error("--cert and --key belong together")
    if options.plaintext and options.cert:
        parser.error("--plaintext excludes --cert")
    return options.run(parser, options)


if __name__ == "__main__":
    sys.exit(main())
