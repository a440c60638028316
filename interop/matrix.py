#!/usr/bin/env python3
"""Runs every pair of peers through every scenario and prints who said what.

Started by `run`, which builds the peers first. The command line of the peers,
and how to add one, is described in README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / ".build"

RUST = "rust"
PEERS = (RUST, "go", "java", "python", "node")

SERVER_NAME = "greeter.test"
CLIENT_PRINCIPAL = "spiffe://interop.test/client"
TOKEN = "interop-right-token-5b1d"
WRONG_TOKEN = "interop-wrong-token-5b1d"
REFUSAL = "call credentials were not accepted"

WORKERS = 2
# Nothing that goes right waits for one of these, however slow the machine is.
CALL_TIMEOUT_MS = 60_000
# A client gets its deadline plus the time that a runtime takes to start.
PROCESS_TIMEOUT_S = CALL_TIMEOUT_MS / 1000 + 60
SERVER_START_S = 120
SERVER_END_S = 60

# Codes of our own, for outcomes that are no status of the call.
LOCAL_ERROR = "LOCAL_ERROR"
BROKEN = "BROKEN"
NO_SERVER = "NO_SERVER"


# --- What is expected -------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """One way to call one kind of server, and the answer that is right."""

    name: str
    mode: str
    client: tuple[str, ...]
    # None stands for every status but OK.
    code: str | None
    message: str | None = None
    principal: str | None = None
    # What our own server says in place of `message`, and the details that go with it.
    rust: dict[str, str] | None = None
    # What every client has to read in our own server's message.
    rust_says: str | None = None


def allowed(name: str, mode: str, *client: str, principal: str) -> Scenario:
    return Scenario(name, mode, client, "OK", "Hello, interop", principal)


def unreachable(
    name: str, mode: str, *client: str, rust_says: str | None = None
) -> Scenario:
    return Scenario(name, mode, client, "UNAVAILABLE", rust_says=rust_says)


def refused(name: str, mode: str, *client: str, rust: dict[str, str]) -> Scenario:
    return Scenario(name, mode, client, "UNAUTHENTICATED", REFUSAL, rust=rust)


RUST_WRONG = {
    "message": REFUSAL,
    "reason": "TOKEN_INVALID",
    "challenge": 'Bearer realm="grpc", error="invalid_token"',
}
RUST_MISSING = {
    "message": "the call needs credentials and has none",
    "reason": "CREDENTIALS_MISSING",
    "challenge": 'Bearer realm="grpc"',
}


# `{}` is the folder of certificates.
TRUST = ("--ca", "{}/ca.pem")
NAME = ("--server-name", SERVER_NAME)
TLS = (*TRUST, *NAME)
CLIENT = ("--cert", "{}/client.pem", "--key", "{}/client.key")
OTHER_CLIENT = ("--cert", "{}/other-client.pem", "--key", "{}/other-client.key")
STREAM = ("--stream", "3")

SERVER_MODES = {
    "tls": ("--cert", "{}/server.pem", "--key", "{}/server.key"),
    "expired": ("--cert", "{}/expired-server.pem", "--key", "{}/expired-server.key"),
    "plaintext": ("--plaintext",),
}
SERVER_MODES["mtls"] = (*SERVER_MODES["tls"], "--client-ca", "{}/ca.pem")
SERVER_MODES["token"] = (*SERVER_MODES["tls"], "--token", TOKEN)

OVER_PLAINTEXT = Scenario(
    "token/over-plaintext", "plaintext", ("--plaintext", "--token", TOKEN), code=None
)

# Each scenario that is allowed has others beside it that differ in one thing.
SCENARIOS = (
    allowed("tls/right", "tls", *TLS, principal=""),
    allowed("tls/right-by-address", "tls", *TRUST, principal=""),
    unreachable("tls/wrong-ca", "tls", "--ca", "{}/other-ca.pem", *NAME),
    unreachable("tls/system-roots", "tls", *NAME),
    unreachable("tls/wrong-name", "tls", *TRUST, "--server-name", "wrong.test"),
    unreachable("tls/expired-server", "expired", *TLS),
    unreachable("tls/plaintext-client", "tls", "--plaintext", rust_says="this port speaks TLS"),
    unreachable("tls/plaintext-server", "plaintext", *TLS),
    allowed("mtls/right", "mtls", *TLS, *CLIENT, principal=CLIENT_PRINCIPAL),
    unreachable("mtls/no-certificate", "mtls", *TLS),
    unreachable("mtls/foreign-ca", "mtls", *TLS, *OTHER_CLIENT),
    allowed("token/right", "token", *TLS, "--token", TOKEN, principal="bearer"),
    refused("token/wrong", "token", *TLS, "--token", WRONG_TOKEN, rust=RUST_WRONG),
    refused("token/missing", "token", *TLS, rust=RUST_MISSING),
    OVER_PLAINTEXT,
    allowed("token/stream-right", "token", *TLS, "--token", TOKEN, *STREAM, principal="bearer"),
    refused("token/stream-wrong", "token", *TLS, "--token", WRONG_TOKEN, *STREAM, rust=RUST_WRONG),
)


@dataclass(frozen=True)
class KnownException:
    """A library that answers a scenario in its own way, and why we accept it.

    The codes replace the expected one: once the library gives the usual answer,
    its cells fail until the exception is removed.
    """

    scenario: str
    client: str
    codes: frozenset[str]
    reason: str
    # None stands for every server.
    server: str | None = None


KNOWN_EXCEPTIONS: tuple[KnownException, ...] = ()


# --- What was seen ----------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    client: str
    server: str

    def __str__(self) -> str:
        return f"{self.client}->{self.server}"


@dataclass
class Cell:
    """One scenario of one pair."""

    pair: Pair
    scenario: Scenario
    seen: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    exception: KnownException | None = None

    def __str__(self) -> str:
        return f"{self.pair} {self.scenario.name}"

    @property
    def code(self) -> str:
        return str(self.seen.get("code"))

    def judge(self) -> None:
        """Compares what was seen with what the scenario expects."""
        scenario = self.scenario
        self.exception = next(filter(self._is_mine, KNOWN_EXCEPTIONS), None)
        if self.code in (BROKEN, NO_SERVER):
            self.problems.append(str(self.seen.get("message")))
        elif self.exception is not None:
            if self.code not in self.exception.codes:
                expected = " or ".join(sorted(self.exception.codes))
                self._unexpected(f"{expected}, as a known exception")
        elif scenario.code is None:
            if self.code == "OK":
                self._unexpected("any other status")
        elif self.code != scenario.code:
            self._unexpected(scenario.code)
        else:
            says = scenario.rust_says
            if self.pair.server == RUST and says and says not in str(self.seen.get("message")):
                self.problems.append(f"expected {says!r} in {self.seen.get('message')!r}")
            said = {"message": scenario.message, "principal": scenario.principal}
            if self.pair.server == RUST:
                said |= scenario.rust or {}
            for key, expected in said.items():
                if expected is not None and self.seen.get(key) != expected:
                    self.problems.append(
                        f"expected the {key} {expected!r}, saw {self.seen.get(key)!r}"
                    )

    def _is_mine(self, known: KnownException) -> bool:
        return (
            known.scenario == self.scenario.name
            and known.client == self.pair.client
            and known.server in (None, self.pair.server)
        )

    def _unexpected(self, expected: str) -> None:
        self.problems.append(f"expected {expected}, saw {self.code}: {self.seen.get('message')}")

    def to_json(self) -> dict[str, object]:
        return {
            "client": self.pair.client,
            "server": self.pair.server,
            "scenario": self.scenario.name,
            "passed": not self.problems,
            "problems": self.problems,
            "known_exception": self.exception.reason if self.exception else None,
            "seconds": round(self.seconds, 3),
            "seen": self.seen,
        }


# --- Peers as processes -----------------------------------------------------


class Peers:
    """Starts the peers. Servers are kept: one for each peer and mode."""

    def __init__(self, certificates: Path, logs: Path) -> None:
        self._certificates = certificates
        self._logs = logs
        self._servers: dict[tuple[str, str], Server] = {}
        self._lock = threading.Lock()

    def call(self, peer: str, address: str, arguments: tuple[str, ...]) -> dict[str, object]:
        """Runs one client and returns the line that it prints."""
        command = [launcher(peer), "client", "--target", address]
        command += ["--timeout-ms", str(CALL_TIMEOUT_MS), *self._fill(arguments)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=peer_environment(),
                timeout=PROCESS_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"code": BROKEN, "message": f"the client did not finish: {error}"}
        lines = done.stdout.splitlines()
        try:
            (line,) = lines
            seen = json.loads(line)
            assert isinstance(seen, dict) and isinstance(seen.get("code"), str)
        except (ValueError, AssertionError):
            seen = {"code": BROKEN, "message": f"the client printed {lines!r}"}
        if done.returncode != 0:
            seen = {"code": BROKEN, "message": f"the client exited with {done.returncode}"}
        if seen["code"] == BROKEN:
            seen["stderr"] = done.stderr[-2000:]
        return seen

    def server(self, peer: str, mode: str) -> Server:
        with self._lock:
            server = self._servers.get((peer, mode))
            if server is None:
                server = Server(f"{peer}-{mode}")
                self._servers[peer, mode] = server
        with server.lock:
            if server.address is None and server.failure is None:
                arguments = self._fill(SERVER_MODES[mode])
                command = [launcher(peer), "server", "--listen", "127.0.0.1:0", *arguments]
                server.start(command, self._logs)
        return server

    def end(self) -> list[str]:
        """Ends all servers and returns what was wrong with them."""
        running = [server for server in self._servers.values() if server.process]
        problems = [problem for server in running for problem in server.early_death()]
        for server in running:
            server.process.stdin.close()
        problems += [problem for server in running for problem in server.end()]
        return problems

    def _fill(self, arguments: tuple[str, ...]) -> list[str]:
        return [argument.replace("{}", str(self._certificates)) for argument in arguments]


class Server:
    """A peer that serves until its standard input is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None
        self.address: str | None = None
        self.failure: str | None = None

    def start(self, command: list[str], logs: Path) -> None:
        log = logs / f"{self.name}.log"
        with log.open("w") as stderr:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    env=peer_environment(),
                )
            except OSError as error:
                self.failure = f"server {self.name} did not start: {error}"
                return
        ready, _, _ = select.select([self.process.stdout], [], [], SERVER_START_S)
        line = self.process.stdout.readline().rstrip("\n") if ready else ""
        word, _, address = line.partition(" ")
        if word == "listening" and address.startswith("127.0.0.1:"):
            self.address = address
        else:
            last = log.read_text(errors="replace")[-500:].strip()
            self.failure = f"server {self.name} did not start, it printed {line!r}: {last}"

    def early_death(self) -> list[str]:
        code = self.process.poll()
        # A server that did not start has failed its cells already.
        if code is None or self.failure is not None:
            return []
        return [f"server {self.name} ended before its time, with {code}"]

    def end(self) -> list[str]:
        """Waits for the end that the closed standard input asks for."""
        early = self.process.returncode is not None
        for insist in (lambda: None, self.process.terminate, self.process.kill):
            insist()
            try:
                code = self.process.wait(SERVER_END_S)
                break
            except subprocess.TimeoutExpired:
                code = None
        self.process.stdout.close()
        if early or self.failure is not None or code == 0:
            return []
        return [f"server {self.name} was to end with 0 after its input, and ended with {code}"]


def launcher(peer: str) -> str:
    return str(BUILD / "bin" / peer)


def peer_environment() -> dict[str, str]:
    # Some libraries would send even loopback connections through a proxy.
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return kept | {"GOMAXPROCS": str(WORKERS)}


# --- Tokens and plaintext ---------------------------------------------------


class Recorder:
    """A plaintext HTTP/2 server that only listens, and keeps what it heard.

    It completes the exchange of settings, so that a client has no reason to
    hold a request back, and hangs up on the first one.
    """

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    HEADER = struct.Struct("!I B I")
    SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x4, 0x6, 0x7, 0x8
    ACK = 0x1

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._heard: list[bytearray] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        return "127.0.0.1:{1}".format(*self._listener.getsockname())

    def heard(self) -> list[bytes]:
        """Ends the listening and returns the bytes of each connection."""
        # Closing alone does not wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(SERVER_END_S)
        for thread in self._threads:
            thread.join(SERVER_END_S)
        return [bytes(heard) for heard in self._heard]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            heard = bytearray()
            self._heard.append(heard)
            thread = threading.Thread(target=self._listen, args=(connection, heard), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _listen(self, connection: socket.socket, heard: bytearray) -> None:
        connection.settimeout(PROCESS_TIMEOUT_S)
        answered = 0
        try:
            with connection:
                connection.sendall(self._frame(self.SETTINGS))
                while received := connection.recv(65536):
                    heard += received
                    frames = list(self.frames(bytes(heard)))
                    if any(self.is_request(kind) for kind, _, _ in frames):
                        return
                    for kind, flags, payload in frames[answered:]:
                        if kind in (self.SETTINGS, self.PING) and not flags & self.ACK:
                            content = payload if kind == self.PING else b""
                            connection.sendall(self._frame(kind, self.ACK, content))
                    answered = len(frames)
        except OSError:
            pass

    def _frame(self, kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
        # A frame starts with 24 bits of length and 8 of type (RFC 9113 §4.1).
        return self.HEADER.pack(len(payload) << 8 | kind, flags, 0) + payload

    @classmethod
    def frames(cls, heard: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The type, flags and payload of each frame that arrived whole.

        The last frame may be cut short: it counts from its header on.
        """
        at = len(cls.PREFACE)
        while at + cls.HEADER.size <= len(heard):
            length_and_kind, flags, _stream = cls.HEADER.unpack_from(heard, at)
            at += cls.HEADER.size
            length, kind = length_and_kind >> 8, length_and_kind & 0xFF
            if at + length > len(heard) and not cls.is_request(kind):
                return
            yield kind, flags, heard[at : at + length]
            at += length

    @classmethod
    def is_request(cls, kind: int) -> bool:
        # By exclusion: a token may hide in any frame but these.
        return kind not in (cls.SETTINGS, cls.PING, cls.GOAWAY, cls.WINDOW_UPDATE)

    @classmethod
    def requests(cls, heard: bytes) -> int:
        """The number of frames that could carry a request."""
        return sum(cls.is_request(kind) for kind, _, _ in cls.frames(heard))


class LeakCheck:
    """Proves for each client that its token does not leave over plaintext."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._problems: dict[str, list[str]] = {}

    def problems(self, client: str) -> list[str]:
        with self._lock:
            if client not in self._problems:
                self._problems[client] = self._check(client)
            return self._problems[client]

    def _check(self, client: str) -> list[str]:
        problems = []
        # The same call without a token has to arrive: silence proves nothing
        # about a recorder that hears nothing.
        _, heard = self._record(client, ("--plaintext",))
        if not any(map(Recorder.requests, heard)):
            problems.append("without a token, no request reached the recorder either")
        seen, heard = self._record(client, OVER_PLAINTEXT.client)
        if seen["code"] in ("OK", BROKEN):
            problems.append(f"to the recorder, the client said {seen}")
        for connection in heard:
            # Whatever does not speak HTTP/2 would hide from the frame count.
            if not Recorder.PREFACE.startswith(connection[: len(Recorder.PREFACE)]):
                problems.append(f"the recorder heard {connection[:64]!r}")
            if requests := Recorder.requests(connection):
                problems.append(f"{requests} frames of a request left with a token")
            # Header compression may hide the text, hence the frame count.
            if TOKEN.encode() in connection:
                problems.append("the token itself left over plaintext")
        return problems

    def _record(
        self, client: str, arguments: tuple[str, ...]
    ) -> tuple[dict[str, object], list[bytes]]:
        recorder = Recorder()
        try:
            seen = self._peers.call(client, recorder.address, arguments)
        finally:
            heard = recorder.heard()
        return seen, heard


# --- The run ----------------------------------------------------------------


def main() -> int:
    options = parse_arguments()
    cells = selected_cells(options)
    if not cells:
        # A run that tests nothing must not look like one that passes.
        print("error: no pair and scenario matches", file=sys.stderr)
        return 2
    if options.plan:
        print(*needed_peers(cells, options))
        return 0

    started = time.monotonic()
    logs = emptied(BUILD / "logs")
    certificates = options.certificates or make_certificates()
    with servers(Peers(certificates, logs)) as (peers, problems):
        leaks = LeakCheck(peers)
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(lambda cell: run_cell(cell, peers, leaks), cells):
                pass
    compare_details(cells)
    seconds = time.monotonic() - started

    print_tables(cells, options.all)
    failed = [cell for cell in cells if cell.problems]
    for cell in failed:
        for problem in cell.problems:
            print(f"! {cell}: {problem}")
    for problem in problems:
        print(f"! {problem}")
    if options.json:
        document = {"cells": [cell.to_json() for cell in cells], "server_problems": problems}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{len(cells)} cells in {seconds:.0f} s")
    print(f"{len(cells) - len(failed)} passed, {len(failed) + len(problems)} failed")
    return 1 if failed or problems else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--all",
        action="store_true",
        help="every pair, in place of those with the Rust peer at one end",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SUBSTRING",
        help="cells like `go->rust tls/right` that contain this; repeat it to narrow the choice",
    )
    parser.add_argument(
        "--peers",
        type=peer_list,
        default=PEERS,
        metavar="LIST",
        help=f"pairs among these only (default: {','.join(PEERS)})",
    )
    parser.add_argument(
        "--certificates",
        type=lambda text: Path(text).resolve(strict=True),
        metavar="DIR",
        help="certificates to use, in place of ones made by the Rust peer",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all cells here")
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def peer_list(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"unknown peer {name!r}, known: {', '.join(PEERS)}")
    return names


def selected_cells(options: argparse.Namespace) -> list[Cell]:
    pairs = (Pair(client, server) for client in options.peers for server in options.peers)
    if not options.all:
        pairs = (pair for pair in pairs if (pair.client == RUST) != (pair.server == RUST))
    cells = [Cell(pair, scenario) for pair in pairs for scenario in SCENARIOS]
    return [cell for cell in cells if all(part in str(cell) for part in options.only)]


def needed_peers(cells: list[Cell], options: argparse.Namespace) -> list[str]:
    needed = {peer for cell in cells for peer in (cell.pair.client, cell.pair.server)}
    if options.certificates is None:
        needed.add(RUST)
    return [peer for peer in PEERS if peer in needed]


def make_certificates() -> Path:
    folder = emptied(BUILD / "certificates")
    subprocess.run([launcher(RUST), "certificates", str(folder)], check=True)
    return folder


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def servers(peers: Peers) -> Iterator[tuple[Peers, list[str]]]:
    """Ends the servers, whatever happens, and leaves what was wrong with them."""
    problems: list[str] = []
    try:
        yield peers, problems
    finally:
        problems += peers.end()


def run_cell(cell: Cell, peers: Peers, leaks: LeakCheck) -> None:
    started = time.monotonic()
    server = peers.server(cell.pair.server, cell.scenario.mode)
    if server.address is None:
        cell.seen = {"code": NO_SERVER, "message": server.failure}
    else:
        cell.seen = peers.call(cell.pair.client, server.address, cell.scenario.client)
    cell.judge()
    if cell.scenario is OVER_PLAINTEXT:
        cell.problems += leaks.problems(cell.pair.client)
    cell.seconds = time.monotonic() - started


def compare_details(cells: list[Cell]) -> None:
    """All clients of a server have to read the same details from its refusal."""
    refusals: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.scenario.message == REFUSAL and cell.code == cell.scenario.code:
            refusals.setdefault((cell.pair.server, cell.scenario.name), []).append(cell)
    for group in refusals.values():
        for key in ("reason", "challenge"):
            ((usual, _),) = Counter(cell.seen.get(key) for cell in group).most_common(1)
            for cell in group:
                if cell.seen.get(key) != usual:
                    cell.problems.append(
                        f"read the {key} {cell.seen.get(key)!r} where others read {usual!r}"
                    )


def print_tables(cells: list[Cell], by_client: bool) -> None:
    """Rows are scenarios and columns are pairs, in tables of a readable width."""
    tables: dict[str, list[Pair]] = {}
    for pair in dict.fromkeys(cell.pair for cell in cells):
        table = pair.client if by_client or pair.client == RUST else "others"
        tables.setdefault(table, []).append(pair)
    by_place = {(cell.scenario.name, cell.pair): cell for cell in cells}
    names = list(dict.fromkeys(cell.scenario.name for cell in cells))
    margin = max(map(len, names))
    for pairs in tables.values():
        width = max(17, *(len(str(pair)) for pair in pairs))
        print(" " * margin, *(f"  {pair!s:{width}}" for pair in pairs))
        for name in names:
            row = (shown(by_place.get((name, pair))) for pair in pairs)
            print(f"{name:{margin}}", *(f"{text:{width + 2}}" for text in row))
        print()
    marks = Counter(shown(cell)[0] for cell in cells)
    if marks["!"]:
        print("! not what was expected")
    if marks["*"]:
        print("* a known exception")
        for known in KNOWN_EXCEPTIONS:
            if any(cell.exception is known for cell in cells):
                where = f"{known.client}->{known.server or 'any'} {known.scenario}"
                print(f"  {where}: {known.reason}")


def shown(cell: Cell | None) -> str:
    if cell is None:
        return "  -"
    mark = "!" if cell.problems else "*" if cell.exception else " "
    return f"{mark} {cell.code}"


if __name__ == "__main__":
    sys.exit(main())
