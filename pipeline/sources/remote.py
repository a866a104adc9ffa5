"""Videos that lie elsewhere: http(s)://, s3:// and what else fsspec opens, read by range through a cache of blocks.

FFmpeg has a http protocol of its own. It is not used: for a shard it makes a server send more than twice the bytes
(benchmarks/remote.py), as it asks for all from an offset on and drops the connection at a seek, and it can't read S3. One way
for all gives one cache, one kind of retry and one set of sentences. It costs a request for each block.
"""

from __future__ import annotations

import io
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

from everyframe.pipeline.errors import SourceError, UsageError, mask_secrets

BLOCK = 512 << 10
"""Bytes of one request: a second or two of video, and at 50 ms a request still twenty times the speed of a camera."""
BLOCKS = 32
TRIES = 4
PAUSE_S = 0.5
"""Before the second try; doubled before each further one."""
CONNECT_S, READ_S = 10.0, 30.0
_FFMPEG_ONLY = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", "file", "concat", "pipe"})
_KEPT = 4
_T = TypeVar("_T")


class RemoteError(SourceError):
    """A remote video cannot be opened or read. why: in a few words, without the address. is_passing: another try may do."""

    def __init__(self, url: str, why: str, advice: str, is_passing: bool = False) -> None:
        super().__init__(f"{mask_secrets(url)} {why}: {advice}.")
        self.why = why
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Store:
    """One remote file. tag: changes when its bytes do, empty where the server doesn't say. fetch: bytes [start, end)."""

    size: int
    tag: str
    fetch: Callable[[int, int], bytes]


def is_remote(path: str) -> bool:
    """Whether this module opens a path: a URL other than those of cameras and of FFmpeg alone."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme.lower() not in _FFMPEG_ONLY


def fingerprint(url: str) -> tuple[int, str]:
    """(size in bytes, what changes when its bytes do: etag or time of change; empty where the server says neither).

    Raises RemoteError.
    """
    store = _patiently(url, lambda: _store(url))
    return store.size, store.tag


def expand(pattern: str) -> list[str]:
    """The URLs that a pattern with * or ? matches, sorted: those below an S3 prefix, or the links of a page that lists a folder.

    Raises RemoteError where the place cannot be listed.
    """
    scheme = pattern.partition("://")[0].lower()
    if scheme == "s3":
        from fsspec.implementations.arrow import ArrowFSWrapper

        fs, prefix = ArrowFSWrapper(_s3()), "s3://"
    else:
        fs, prefix = _fsspec(pattern), "" if scheme in ("http", "https") else f"{scheme}://"
    found = _patiently(pattern, lambda: fs.glob(pattern))
    return sorted(name if "://" in name else prefix + name for name in found)


class RemoteFile(io.RawIOBase):
    """A remote video as a file that can be read and sought. Opening it asks for its size; bytes come in blocks that are kept
    for the next who opens it, as long as it has not changed. Raises RemoteError, after some tries."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.name = url.split("?")[0] if urlsplit(url).scheme in ("http", "https") else url
        store = _patiently(url, lambda: _store(url))
        self.size, self.tag = store.size, store.tag
        self._cache = _cache_of(url, store)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        data: bytes = self._cache._fetch(self._at, end) if end > self._at else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


_caches: OrderedDict[tuple[str, int, str], Any] = OrderedDict()
_lock = Lock()


def _cache_of(url: str, store: Store) -> Any:
    """Blocks that this process has of a file: a file is opened more than once, to look at it and to read it."""
    from fsspec.caching import BlockCache

    key = (url, store.size, store.tag)
    with _lock:
        cache = _caches.pop(key, None) if store.tag else None
        if cache is None:
            cache = BlockCache(BLOCK, lambda start, end: _whole(url, store, start, end), store.size, BLOCKS)
        _caches[key] = cache
        while len(_caches) > _KEPT:
            _caches.popitem(last=False)
    return cache


def _whole(url: str, store: Store, start: int, end: int) -> bytes:
    end = min(end, store.size)

    def fetch() -> bytes:
        data = store.fetch(start, end)
        if len(data) != end - start:
            raise RemoteError(url, f"sent {len(data)} bytes instead of {end - start}", _AGAIN, is_passing=True)
        return data

    return _patiently(url, fetch)


_AGAIN = "check the connection and run again"


def _patiently(url: str, action: Callable[[], _T]) -> _T:
    """The result of `action`, tried again with longer and longer pauses while its failure may pass. Raises RemoteError."""
    pause = PAUSE_S
    for tries_left in reversed(range(TRIES)):
        try:
            return action()
        except UsageError:
            raise
        except Exception as e:
            error = _translated(url, e)
            if not (error.is_passing and tries_left):
                raise error from e
        time.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")


def _translated(url: str, error: Exception) -> RemoteError:
    if isinstance(error, RemoteError):
        return error
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        error = cause  # fsspec says so of whatever keeps it from a file
    status = getattr(error, "status", None) or _status_in(str(error))
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return RemoteError(url, "does not exist", "check the address")
    if isinstance(error, PermissionError) or status in (401, 403):
        return RemoteError(url, "may not be read (access denied)", "check credentials and rights")
    if status == 412:
        return RemoteError(url, "changed while it was read", "run again")
    if isinstance(error, ValueError) and "range" in str(error).lower():
        return RemoteError(url, "cannot be read in parts (its server knows no range requests)", "download it first")
    if isinstance(error, ImportError):
        return RemoteError(url, f"needs a package that is not there ({error})", "install it")
    if isinstance(error, TimeoutError):
        return RemoteError(url, "does not answer", _AGAIN, is_passing=True)
    if status is not None and status < 500 and status not in (408, 425, 429):
        return RemoteError(url, f"is refused by its server (HTTP {status})", "check the address")
    why = f"HTTP {status}" if status else mask_secrets(" ".join(str(error).split()))[:160] or type(error).__name__
    is_passing = isinstance(error, OSError) or status is not None or type(error).__module__.startswith("aiohttp")
    return RemoteError(url, f"cannot be read ({why})", _AGAIN, is_passing)


def _status_in(text: str) -> int | None:
    """The HTTP status in what the AWS SDK says."""
    if "ACCESS_DENIED" in text or "INVALID_ACCESS_KEY" in text or "SIGNATURE_DOES_NOT_MATCH" in text:
        return 403
    _, found, rest = text.partition("HTTP status ")
    digits = rest[:3]
    return int(digits) if found and digits.isdigit() else None


def _store(url: str) -> Store:
    scheme = url.partition("://")[0].lower()
    if scheme == "s3":
        return _s3_store(url)
    fs = _fsspec(url)
    info = fs.info(url)
    size = info.get("size")
    if size is None or info.get("partial") is False:
        raise RemoteError(url, "cannot be read in parts (its server knows no range requests)", "download it first")
    if size == 0:
        raise RemoteError(url, "is empty (0 bytes)", "record or copy it again")
    tag = str(info.get("ETag") or info.get("etag") or info.get("Last-Modified") or info.get("mtime") or "")
    if scheme not in ("http", "https"):
        return Store(size, tag, lambda start, end: fs.cat_file(url, start=start, end=end))
    # a file that is replaced in the middle is noticed by its server
    headers = {"If-Match": tag, "Accept-Encoding": "identity"} if tag.startswith('"') else {"Accept-Encoding": "identity"}
    file = fs.open(url, block_size=BLOCK, cache_type="none", size=size, headers=headers)
    return Store(size, tag, file._fetch_range)


def _fsspec(url: str) -> Any:
    """fsspec's file system of a URL; nothing is asked of it yet."""
    import fsspec

    scheme = url.partition("://")[0].lower()
    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
        options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
    try:
        return fsspec.filesystem(scheme, **options)
    except ValueError as e:
        raise UsageError(f"{mask_secrets(url)}: no way is known to open {scheme}:// addresses") from e
    except ImportError as e:
        raise UsageError(f"{mask_secrets(url)}: {e}") from e


def _s3() -> Any:
    """Amazon's S3 or a look-alike. Credentials, region and endpoint are looked for where AWS's own tools look."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        options |= {"endpoint_override": parts.netloc or endpoint, "scheme": parts.scheme or "https"}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    retries = AwsStandardS3RetryStrategy(max_attempts=1)  # tried again here, with sentences
    return S3FileSystem(connect_timeout=CONNECT_S, request_timeout=READ_S, retry_strategy=retries, **options)


def _s3_store(url: str) -> Store:
    place = url.partition("://")[2]
    file = _s3().open_input_file(place)
    size: int = file.size()
    if size == 0:
        raise RemoteError(url, "is empty (0 bytes)", "record or copy it again")
    facts = {(k.decode() if isinstance(k, bytes) else k).lower(): v for k, v in (file.metadata() or {}).items()}
    tag = facts.get("etag") or facts.get("last-modified") or b""
    return Store(size, tag.decode() if isinstance(tag, bytes) else str(tag), lambda start, end: file.read_at(end - start, start))
