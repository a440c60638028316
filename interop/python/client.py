"""The greeter as client."""

import argparse
import json
from collections.abc import Iterable

import grpc
from countersign.demo.v1 import greeter_pb2, greeter_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from files import read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help="address of the server")
    parser.add_argument("--ca", help="trust this CA in place of the system's, PEM")
    parser.add_argument("--server-name", help="name that the certificate must carry")
    parser.add_argument("--timeout-ms", type=int, default=10_000, help="deadline of the call")
    parser.add_argument("--stream", type=int, default=0, help="ask for a stream of this many replies")


def run(_parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    try:
        with open_channel(options) as channel:
            reply = call(channel, options)
        line = {"code": "OK", "message": reply.message, "principal": reply.principal}
    except grpc.RpcError as error:
        line = describe(error)
    except (OSError, ValueError) as error:
        line = {"code": "LOCAL_ERROR", "message": str(error), "reason": None, "challenge": None}
    print(json.dumps(line), flush=True)
    return 0


def open_channel(options: argparse.Namespace) -> grpc.Channel:
    channel_options = []
    if options.server_name:
        # The certificate is checked against the authority. The override of the
        # name in the TLS credentials is for tests.
        channel_options.append(("grpc.default_authority", options.server_name))
    if options.plaintext:
        return grpc.insecure_channel(options.target, channel_options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read(options.ca),
        private_key=read(options.key),
        certificate_chain=read(options.cert),
    )
    if options.token is not None:
        credentials = grpc.composite_channel_credentials(
            credentials, grpc.access_token_call_credentials(options.token)
        )
    return grpc.secure_channel(options.target, credentials, channel_options)


def call(channel: grpc.Channel, options: argparse.Namespace) -> greeter_pb2.HelloReply:
    stub = greeter_pb2_grpc.GreeterStub(channel)
    settings = {"timeout": options.timeout_ms / 1000}
    if options.plaintext and options.token is not None:
        # An insecure channel takes no call credentials; a call on it does, and
        # the library then decides whether the token may leave.
        settings["credentials"] = grpc.access_token_call_credentials(options.token)
    if not options.stream:
        return stub.SayHello(greeter_pb2.HelloRequest(name="interop"), **settings)
    request = greeter_pb2.HelloStreamRequest(name="interop", count=options.stream)
    last = greeter_pb2.HelloReply()
    for reply in stub.SayHelloStream(request, **settings):
        last = reply
    return last


def describe(error: grpc.RpcError) -> dict[str, str | None]:
    metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    return {
        "code": error.code().name,
        "message": error.details(),
        "reason": reason_of(error),
        "challenge": next((value for key, value in metadata if key == "www-authenticate"), None),
    }


def reason_of(error: grpc.RpcError) -> str | None:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None
