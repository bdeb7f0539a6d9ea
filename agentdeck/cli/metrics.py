"""`metrics`: what runs do and did, for Prometheus."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import say
from agentdeck.cli.options import db_option
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.operations.recorded_run import open_store

if TYPE_CHECKING:
    from agentdeck.operations.metrics import StoreMetrics

HOST, PORT = "127.0.0.1", 9464
#: Seconds between two looks at the store, and the most that one takes: then the metrics say how much they lack.
REFRESH, MOST = 1.0, 1.0


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--listen", metavar="[HOST:]PORT", help="Serve them over HTTP until interrupted, at /metrics.")
@db_option
def metrics(run: str | None, listen: str | None, db: str | None) -> None:
    """Print metrics of a run, or of all runs that execute, as text for Prometheus; or serve them.

    Anybody who can reach the address can read them, so it is one of this machine unless HOST says otherwise
    (0.0.0.0 for all). They hold names and numbers, no inputs and outputs.

    \b
    Examples:
      agentdeck metrics last
      agentdeck metrics --listen 9464
      agentdeck metrics --listen 127.0.0.1:9464
    """
    from agentdeck.operations.metrics import StoreMetrics

    address = None if listen is None else _address(listen)
    with open_store(db) as reader:
        found = StoreMetrics(reader, run)
        if address is not None:
            _serve(found, *address)
        else:
            found.refresh()
            sys.stdout.write(found.text())


def _address(text: str) -> tuple[str, int]:
    """Host and port of `--listen`. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text}: this is not an address; give one like {HOST}:{PORT}, or a port")
    return host.strip("[]") or HOST, int(port)


def _serve(found: StoreMetrics, host: str, port: int) -> None:
    """Serve the metrics until the process is interrupted."""
    lock = threading.Lock()
    try:
        server = _server(host, port, _handler(found, lock))
    except OSError as error:
        raise UsageError(f"--listen {host}:{port}: {error.strerror or error}; choose another address") from None
    with server:
        found.refresh()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        say(f"metrics at http://{shown}:{server.server_address[1]}/metrics; Ctrl-C stops")
        try:
            while True:
                time.sleep(REFRESH)
                _refresh(found, lock)
        finally:
            server.shutdown()


def _server(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server that listens there. Raises OSError."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exc_info()[1], OSError):  # that is a client that has gone away
                super().handle_error(request, client_address)

    return Server((host, port), handler)


def _handler(found: StoreMetrics, lock: threading.Lock) -> type[BaseHTTPRequestHandler]:
    """Answers GET and HEAD of /metrics."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # seconds that a client may take to send its request

        def do_GET(self) -> None:
            from agentdeck.telemetry.prometheus import CONTENT_TYPE

            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "text/plain; charset=utf-8", "the metrics are at /metrics\n")
                return
            _refresh(found, lock)
            try:
                with lock:
                    body = found.text()
            except AgentdeckError as error:
                self._answer(503, "text/plain; charset=utf-8", f"{error}\n")
            else:
                self._answer(200, CONTENT_TYPE, body)

        do_HEAD = do_GET

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    return Handler


def _refresh(found: StoreMetrics, lock: threading.Lock) -> None:
    """Read what is new. A store that cannot be read now may be readable later; requests say what is wrong."""
    with lock, suppress(AgentdeckError):
        found.refresh(MOST)
