"""A real RTSP server for tests: Debian's gst-rtsp-server as a child process, which tests kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def missing() -> str:
    """Why there can be no RTSP server on this machine; empty where there can."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"no {SYSTEM_PYTHON}"
    found = subprocess.run([SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, check=False, env=_environment())
    return "" if found.returncode == 0 else "no gst-rtsp-server: run `make system` as root (Debian)"


def _environment() -> dict[str, str]:
    """Without what a virtual environment tells Python, and without plugins that look for hardware."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}


class RtspServer:
    """Serves one clip at `url` from when it is made until `close`.

    clip: an .mp4, played once; or a raw .264 stream, played for ever at `rate` frames a second. port: 0 for any free one.
    login: "user:password" that clients must give. loss: share of the RTP packets that are left out.
    """

    def __init__(self, clip: Path | str, rate: int = 25, port: int = 0, login: str = "", loss: float = 0) -> None:
        self._command = [SYSTEM_PYTHON, str(_SCRIPT), str(clip)]
        self._rest = [str(rate), str(loss), *([login] if login else [])]
        self.port = port
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/clip"

    def url_with(self, login: str) -> str:
        """The URL with "user:password" in it."""
        return f"rtsp://{login}@127.0.0.1:{self.port}/clip"

    def start(self) -> None:
        """Starts it, again on the port that it had before."""
        command = [*self._command, str(self.port), *self._rest]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment()
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            process.kill()
            process.wait()
            raise RuntimeError(f"the RTSP server did not start: {' '.join(command)}")
        self.port, self._process = int(line), process

    def kill(self) -> None:
        """kill -9, as when a camera loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """Silent, but its connections stay (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
