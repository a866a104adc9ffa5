"""`--http HOST:PORT`: health, metrics, state and the live page, served by a thread of its own."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import threading
import time

import uvicorn

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.live.http_access import Gate
from everyframe.pipeline.live.http_app import Site, make_app
from everyframe.pipeline.live.types import Board

HERE = "127.0.0.1"
MOST_CONNECTIONS = 200
_START_S = 10.0
_LOG = logging.getLogger("everyframe.http")


class Server:
    """Serves from when it is made until `stop`. address: HOST:PORT as bound. url: of the page."""

    def __init__(self, board: Board, bound: socket.socket, gate: Gate) -> None:
        host, port = bound.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"http://{self.address}/"
        self._site = Site(board)
        self._bound = bound
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(self._site, gate),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                # Streams end by themselves when `stopping` is set; whatever does not is cut off after this.
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._run, name="everyframe-http", daemon=True)
        self._thread.start()
        self._await_start()

    def stop(self, timeout: float = 3.0) -> None:
        """Ends all streams and the thread; a second call does nothing."""
        self._site.stop()
        self._server.should_exit = True
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._bound])
        except (Exception, SystemExit):  # noqa: BLE001 - the cameras go on without a page
            _LOG.exception("the HTTP server has ended: start everyframe watch again")
        finally:
            self._bound.close()

    def _await_start(self) -> None:
        until = time.monotonic() + _START_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not self._server.started:
            self.stop(0.0)
            raise UsageError(f"the HTTP server did not start on {self.address}: try another port with --http")


def serve(board: Board, where: str, token: str | None) -> Server:
    """Serves a board. where: HOST:PORT, :PORT or PORT (this machine only), port 0 for any that is free.

    token: what callers must send; needed where other machines can reach the address. Raises UsageError.
    """
    host, port = parse_address(where)
    token = (token or "").strip() or None
    if token is None and not _is_local(host):
        raise UsageError(
            f"--http {where} can be reached from other machines: give a token with --http-token, or use {HERE}:{port}"
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("a token may hold ASCII letters, digits and signs only, without blanks: choose another")
    bound = _bind(host, port, where)
    return Server(board, bound, Gate(token, bound.getsockname()[1], host))


def parse_address(where: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPv6]:PORT, :PORT or PORT. Raises UsageError."""
    host, colon, text = where.strip().rpartition(":")
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535 or (colon and not host and where.strip() != f":{text}"):
        raise UsageError(f"--http {where} is no address: write it as HOST:PORT, as in {HERE}:8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"--http {where} is no address: put IPv6 addresses in brackets, as in [::1]:8080")
    return host or HERE, port


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int, where: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as e:
        raise UsageError(f"--http {where}: the host {host} is not known here: use {HERE}:{port}") from e
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as e:
        bound.close()
        raise UsageError(_bind_error(e, host, port, where)) from e
    return bound


def _bind_error(error: OSError, host: str, port: int, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--http {where}: port {port} is taken: end the program that uses it, or name another port"
    if error.errno == errno.EACCES:
        return f"--http {where}: port {port} needs rights that you don't have: name a port of 1024 or above"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--http {where}: this machine has no address {host}: use {HERE}:{port}, or 0.0.0.0:{port} for all"
    return f"--http {where}: cannot listen there ({error.strerror or error}): name another address"
