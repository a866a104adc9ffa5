"""Reading a remote video by everyframe's blocks against FFmpeg's own http protocol: bytes that a local server sends, requests, time.

A long file is made of a clip's packets laid end to end. "all" demuxes it whole; "a shard" opens it, looks at it, seeks to its middle
and demuxes 800 frames. Both sides run in turns, three times; the median is shown.

    python benchmarks/remote.py --write
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
from common import CLIPS, ROOT, concatenate, markdown, need_data, parser, publish

from everyframe.pipeline.sources import remote
from everyframe.pipeline.sources.remote import RemoteFile

sys.path.insert(0, str(ROOT / "tests"))
from ranges import RangeServer, serving

FRAMES, SHARD = 10_000, 800
Opener = Callable[[str], object]


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    need_data()
    openers: dict[str, Opener] = {"blocks through fsspec": RemoteFile, "FFmpeg's http": str}
    with tempfile.TemporaryDirectory(prefix="everyframe-remote-") as folder:
        video = concatenate(CLIPS["pets_s2l1_ip"].path, options.limit or FRAMES, Path(folder) / "long.mp4")
        size = video.stat().st_size
        with serving(Path(folder)) as server:
            found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
            for _ in range(3):
                for what in ("all", "a shard"):
                    for name, opener in openers.items():
                        found.setdefault((what, name), []).append(_measure(server, opener, what))
    rows = []
    for (what, name), runs in found.items():
        sent, requests, seconds = (statistics.median(run[i] for run in runs) for i in range(3))
        rows.append([what, name, f"{sent / 1e6:.1f}", f"{requests:.0f}", f"{seconds:.2f}"])
    table = markdown(["what is read", "how", "MB sent", "requests", "s"], rows)
    publish("remote reading", f"A file of {size / 1e6:.1f} MB from a server on this machine.\n\n{table}", options.write)


def _measure(server: RangeServer, opener: Opener, what: str) -> tuple[float, float, float]:
    """(bytes sent, requests, seconds) for one reading, opened twice as a source is."""
    remote._caches.clear()
    server.sent = server.requests = 0
    begun = time.perf_counter()
    url = f"{server.url}/long.mp4"
    with av.open(opener(url)) as container:
        for i, _ in enumerate(container.demux(video=0)):
            if i == 24:
                break
    with av.open(opener(url)) as container:
        stream = container.streams.video[0]
        if what == "a shard":
            container.seek(int(stream.duration) // 2, stream=stream)
        for i, _ in enumerate(container.demux(stream)):
            if what == "a shard" and i == SHARD:
                break
    taken = time.perf_counter() - begun
    time.sleep(0.2)  # what is under way still counts
    return server.sent, server.requests, taken


if __name__ == "__main__":
    main()
