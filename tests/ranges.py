"""A local HTTP server with byte ranges that counts what it sends and can misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder. sent: bytes of files, requests: number of GETs.

    fault: asked before each GET with its number; None to serve, a status to refuse with, "cut" to break off half-way,
    "whole" to ignore the range.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.sent = self.requests = 0
        self.fault: Callable[[int], int | str | None] = lambda number: None
        self.head: int = 200
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(is_head=True)

    def do_GET(self) -> None:
        self._serve(is_head=False)

    def _serve(self, is_head: bool) -> None:
        path = self.server.folder / self.path.split("?")[0].lstrip("/")
        if is_head and self.server.head != 200:
            return self._refuse(self.server.head)
        if path.is_dir():
            return self._page(path, is_head)
        if not path.is_file():
            return self._refuse(404)
        fault = None
        if not is_head:
            with self.server.lock:
                self.server.requests += 1
                fault = self.server.fault(self.server.requests)
        if isinstance(fault, int):
            return self._refuse(fault)
        tag = f'"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}"'
        if self.headers.get("If-Match", tag) != tag:
            return self._refuse(412)
        self._send(path, tag, is_head, fault)

    def _send(self, path: Path, tag: str, is_head: bool, fault: str | None) -> None:
        total = path.stat().st_size
        begin, end, status = 0, total, 200
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and fault != "whole":
            first, _, last = asked[6:].partition("-")
            begin, end, status = int(first), min(total, int(last or total - 1) + 1), 206
        self.send_response(status)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(end - begin))
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{total}")
        self.end_headers()
        if is_head:
            return
        if fault == "cut":
            end = begin + (end - begin) // 2
            self.close_connection = True
        with open(path, "rb") as file:
            file.seek(begin)
            while begin < end and (data := file.read(min(1 << 16, end - begin))):
                try:
                    self.wfile.write(data)
                except OSError:
                    return
                begin += len(data)
                with self.server.lock:
                    self.server.sent += len(data)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _page(self, folder: Path, is_head: bool) -> None:
        body = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(folder.iterdir())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not is_head:
            self.wfile.write(body)


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
