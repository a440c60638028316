"""The server's side of call credentials."""

import hmac
from collections.abc import Callable, Iterator
from typing import NoReturn

import grpc


class TokenGuard(grpc.ServerInterceptor):
    """Refuses calls that do not carry the one accepted token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # A handler for streams on both sides fits every method on the wire,
        # and is the only kind that runs before a message was read.
        self._refusal = grpc.stream_stream_rpc_method_handler(refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        # Two values mean that someone on the way added one, so neither is trusted.
        values = [
            value
            for key, value in handler_call_details.invocation_metadata
            if key == "authorization"
        ]
        if len(values) == 1 and self._accepts(values[0]):
            return continuation(handler_call_details)
        return self._refusal

    def _accepts(self, authorization: str) -> bool:
        scheme, separator, token = authorization.partition(" ")
        return (
            bool(separator)
            and scheme.lower() == "bearer"
            and hmac.compare_digest(token.encode(), self._token)
        )


def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "call credentials were not accepted")
