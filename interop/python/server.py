"""The greeter as server."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from countersign.demo.v1 import greeter_pb2, greeter_pb2_grpc

from files import read
from token_guard import TokenGuard

PrincipalOf = Callable[[grpc.ServicerContext], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:0", help="address to listen on")
    parser.add_argument("--client-ca", help="demand client certificates of this CA, PEM")


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.plaintext and options.client_ca:
        parser.error("--plaintext excludes --client-ca")
    if not options.plaintext and not options.cert:
        parser.error("expected --cert and --key, or --plaintext")

    interceptors, principal_of = [], certificate_principal
    if options.token is not None:
        interceptors.append(TokenGuard(options.token))
        principal_of = token_principal

    service = grpc.server(
        ThreadPoolExecutor(max_workers=4),
        interceptors=interceptors,
        # By default a second server may share the port without an error.
        options=[("grpc.so_reuseport", 0)],
    )
    greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(principal_of), service)
    if options.plaintext:
        port = service.add_insecure_port(options.listen)
    else:
        port = service.add_secure_port(options.listen, server_credentials(options))
    service.start()
    ended = end_event()
    host = options.listen.rpartition(":")[0]
    print(f"listening {host}:{port}", flush=True)
    ended.wait()
    service.stop(grace=None).wait()
    return 0


def server_credentials(options: argparse.Namespace) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(read(options.key), read(options.cert))],
        root_certificates=read(options.client_ca),
        require_client_auth=options.client_ca is not None,
    )


def end_event() -> threading.Event:
    """An event that is set when standard input ends or SIGTERM arrives."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())

    def drain() -> None:
        # Past Python's own buffer: its lock, held by a thread that reads,
        # aborts an interpreter that wants to exit.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        ended.set()

    threading.Thread(target=drain, daemon=True).start()
    return ended


class Greeter(greeter_pb2_grpc.GreeterServicer):
    """Greets, and says as whom the server knows the caller."""

    def __init__(self, principal_of: PrincipalOf) -> None:
        self._principal_of = principal_of

    def SayHello(
        self, request: greeter_pb2.HelloRequest, context: grpc.ServicerContext
    ) -> greeter_pb2.HelloReply:
        return self._greet(request.name, context)

    def SayHelloStream(
        self, request: greeter_pb2.HelloStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[greeter_pb2.HelloReply]:
        for _ in range(request.count):
            yield self._greet(request.name, context)

    def _greet(self, name: str, context: grpc.ServicerContext) -> greeter_pb2.HelloReply:
        return greeter_pb2.HelloReply(
            message=f"Hello, {name}", principal=self._principal_of(context)
        )


def token_principal(_context: grpc.ServicerContext) -> str:
    # The guard lets nobody else through to the methods.
    return "bearer"


def certificate_principal(context: grpc.ServicerContext) -> str:
    """The first URI SAN, else the DNS SAN, else the subject's common name."""
    # Only a certificate that was verified leaves these properties behind,
    # since the server asks for none without verifying it.
    properties = context.auth_context()
    for key in ("peer_uri", "peer_dns", "x509_common_name"):
        values = list(properties.get(key, ()))
        if values:
            return values[0].decode()
    return ""
