"""Starts nginx or `openssl s_server` the way the benchmark starts its peers.

    serve.py nginx|openssl PROGRAM serve MODE --cert FILE --key FILE [--client-ca FILE]

The process that was started becomes the server, so its CPU time and memory are
the server's alone. A child watches over it: it says when the server listens,
ends it when standard input ends, and removes what was written for it.
"""

import argparse
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 10

MODES = ["tls", "resume-off", "mtls", "tls-tickets", "mtls-tickets"]

# Closed when the server listens. The server itself does not inherit it.
HELD: list[socket.socket] = []

NGINX = """\
daemon off;
# One process that accepts and serves, which is what one worker does.
master_process off;
pid "{dir}/pid";
error_log stderr crit;
events {{
  worker_connections 16384;
}}
http {{
  access_log off;
  client_body_temp_path "{dir}/body";
  proxy_temp_path "{dir}/proxy";
  fastcgi_temp_path "{dir}/fastcgi";
  uwsgi_temp_path "{dir}/uwsgi";
  scgi_temp_path "{dir}/scgi";
  keepalive_requests 1000000000;
  http2_max_concurrent_streams 1000;
  server {{
    listen 127.0.0.1:{port} ssl{listen_http2} reuseport;
    {http2_on}
    ssl_certificate "{cert}";
    ssl_certificate_key "{key}";
    ssl_protocols TLSv1.3;
    {sessions}
    {client_ca}
    location / {{
      return 200;
    }}
  }}
}}
"""


# The first two would still let tickets out that name cache entries.
NO_SESSIONS = "ssl_session_tickets off; ssl_session_cache off; ssl_conf_command NumTickets 0;"
# One ticket for each connection, which holds the whole session.
TICKETS = "ssl_session_tickets on; ssl_session_cache shared:sessions:10m; ssl_conf_command NumTickets 1;"


def nginx(options: argparse.Namespace, directory: Path) -> list[str]:
    # nginx takes no port 0. This socket keeps the port that the system chose
    # until nginx has it; it does not listen, so no connection goes to it.
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    HELD.append(holder)

    shown = subprocess.run(
        [options.program, "-v"], check=True, capture_output=True, text=True
    ).stderr
    version = tuple(map(int, re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", shown).groups()))
    new = version >= (1, 25, 1)
    verify = f'ssl_verify_client on;\n    ssl_client_certificate "{options.client_ca}";'
    (directory / "conf").write_text(
        NGINX.format(
            dir=directory,
            port=port,
            cert=options.cert,
            key=options.key,
            sessions=TICKETS if options.mode.endswith("-tickets") else NO_SESSIONS,
            client_ca=verify if options.mode.startswith("mtls") else "",
            listen_http2="" if new else " http2",
            http2_on="http2 on;" if new else "",
        )
    )
    (directory / "port").write_text(str(port))
    return [options.program, "-p", f"{directory}/", "-e", "stderr", "-c", f"{directory}/conf"]


def nginx_port(directory: Path, _output: int, _deadline: float) -> int | None:
    """The port, once nginx has read its configuration and taken the socket."""
    if not (directory / "pid").exists():
        return None
    return int((directory / "port").read_text())


def openssl(options: argparse.Namespace, directory: Path) -> list[str]:
    command = [options.program, "s_server", "-accept", "127.0.0.1:0", "-www", "-alpn", "h2"]
    # A ticket holds the whole session, so a cache would only be kept besides.
    tickets = "1" if options.mode.endswith("-tickets") else "0"
    command += ["-tls1_3", "-num_tickets", tickets, "-no_cache"]
    command += ["-cert", options.cert, "-key", options.key]
    # -cert takes the first certificate of a file, -cert_chain all of them.
    pem = re.findall(r"-----BEGIN CERT.*?-----END CERT[^\n]*\n", Path(options.cert).read_text(), re.S)
    if len(pem) > 1:
        (directory / "chain").write_text("".join(pem[1:]))
        command += ["-cert_chain", f"{directory}/chain"]
    if options.mode.startswith("mtls"):
        # With -CAfile, the server would add the CA to its own chain.
        command += ["-Verify", "4", "-verify_return_error", "-verify_quiet"]
        command += ["-verifyCAfile", options.client_ca]
    return command


def openssl_port(_directory: Path, output: int, deadline: float) -> int | None:
    """The port, from the line in which openssl names it."""
    seen = b""
    while b"\n" not in seen or b"ACCEPT" not in seen:
        ready, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
        chunk = os.read(output, 4096) if ready else b""
        if not chunk:
            return None
        seen += chunk
    found = re.search(rb"ACCEPT .*:(\d+)\s", seen)
    return int(found[1]) if found else None


def watch(server: int, output: int, directory: Path, port_of) -> None:
    """Runs in the child until the server or standard input ends."""
    # The server ends first, also where a whole group is told to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deadline = time.monotonic() + START_SECONDS
    port = None
    while port is None and time.monotonic() < deadline and os.getppid() == server:
        port = port_of(directory, output, deadline)
        if port is None:
            time.sleep(0.01)
    if port is None:
        end(server)
        return
    for holder in HELD:
        holder.close()
    print(f"listening 127.0.0.1:{port}", flush=True)
    # Whoever reads the line until the end has to see the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    # The server holds the other end of its output for as long as it runs.
    sources = [0, output]
    while True:
        for ready in select.select(sources, [], [])[0]:
            if not os.read(ready, 65536):
                if ready == 0:
                    end(server)
                return


def end(server: int) -> None:
    # An ended server has left its child to another parent.
    if os.getppid() == server:
        os.kill(server, signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=["nginx", "openssl"])
    parser.add_argument("program")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--cert", type=os.path.abspath, required=True)
    parser.add_argument("--key", type=os.path.abspath, required=True)
    parser.add_argument("--client-ca", type=os.path.abspath)
    # Any peer may be given these.
    for name in ["--jwt-public-key", "--issuer", "--audience", "--policy"]:
        parser.add_argument(name, help="of no use here")
    options = parser.parse_args()
    if options.mode.startswith("mtls") and options.client_ca is None:
        parser.error("expected --client-ca")

    command_of, port_of = {
        "nginx": (nginx, nginx_port),
        "openssl": (openssl, openssl_port),
    }[options.server]
    directory = Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    command = command_of(options, directory)
    server = os.getpid()
    output, written = os.pipe()
    if os.fork() == 0:
        os.close(written)
        try:
            watch(server, output, directory, port_of)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os._exit(0)
    os.close(output)
    os.dup2(written, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(options.program, command)


if __name__ == "__main__":
    main()
