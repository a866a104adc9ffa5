"""Who may look: a token for other machines, this machine's own names without one; and headers that browsers obey."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everyframe.pipeline.errors import mask_secrets

OPEN = frozenset({"/healthz", "/readyz", "/page.css", "/icon.svg"})
"""Paths without a token: probes cannot always send one, and these tell nothing of the cameras."""
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MOST_FORM = 4096
_YEAR_S = 365 * 24 * 3600
_LOG = logging.getLogger("everyframe.http")


class Gate:
    """Tells who may pass. token: None lets everybody on this machine. The cookie holds a hash made with the token, not the
    token itself."""

    def __init__(self, token: str | None, port: int, host: str = "") -> None:
        self._token = None if token is None else token.encode()
        self._names = _LOCAL_NAMES | {host}
        # Cookies know no ports: two servers of one machine must not overwrite each other's.
        self.cookie = f"everyframe-{port}"
        self.pass_value = hmac.new(self._token or b"", b"everyframe page", hashlib.sha256).hexdigest()

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def is_token(self, given: str) -> bool:
        """Whether this is the token, in a time that does not depend on how much of it is right."""
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request may pass: by `Authorization: Bearer`, by cookie, or, without a token, by a name of this machine:
        else any web page could have its name point here and read on (DNS rebinding)."""
        if self._token is None:
            return _host_of(headers.get("host", "")) in self._names
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return hmac.compare_digest(self._cookie_of(headers).encode("utf-8", "replace"), self.pass_value.encode())

    def _cookie_of(self, headers: Mapping[str, str]) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def welcome(self, request: Request) -> Response:
        """Sets the cookie and leads to the page, so that the token leaves the address bar and the history."""
        answer = RedirectResponse("./", 303)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(
            self.cookie, self.pass_value, max_age=_YEAR_S, httponly=True, samesite="lax", secure=secure
        )
        return answer


async def posted_token(request: Request) -> str:
    """The field `token` of a small form; empty where there is none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()


def _host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


class Access:
    """ASGI: asks the gate, sets the headers, and turns a fault of ours into one line of the log and a plain 500."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                _add_headers(message)
            await send(message)

        try:
            refused = self._refusal(scope)
            await (refused or self._app)(scope, receive, send_on)
        except ClientDisconnect:
            pass
        except Exception as e:  # noqa: BLE001 - one request must not end the server
            _LOG.error(mask_secrets(f"HTTP {scope['path']}: unexpected {type(e).__name__}: {e}"), exc_info=e)
            if not has_begun:
                await PlainTextResponse("a fault of everyframe's: see its log\n", 500)(scope, receive, send_on)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path in OPEN or self._gate.admits(Headers(scope=scope)):
            return None
        if not self._gate.needs_token:
            return PlainTextResponse("this page answers to localhost and 127.0.0.1 only\n", 421)
        if path == "/":
            return None  # the page itself asks for the token
        return PlainTextResponse(
            "a token is needed: send it as Authorization: Bearer TOKEN\n", 401, {"WWW-Authenticate": "Bearer"}
        )


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
