"""Does memory grow with the length of a file? Peak resident memory on 10,000 frames and on a tenth of them.

Target: at most 1.1 times. Each run is the `everyframe run` command in a process of its own, writing JSON Lines.
    python benchmarks/memory.py --write
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from common import CLIPS

MOST = 1.1


def peak_mib(path: Path, policy: str, mode: str, options: list[str], out: str) -> float:
    """Peak resident memory of one run, MiB."""
    command = [sys.executable, "-m", "everyframe", "run", str(path), "--policy", policy, f"--{mode}",
               "--engine", "local", "--out", out, "--redis", "none", "--quiet", *options]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--frames", type=int, default=10_000)
    made.add_argument("--clip", default="pets_s2l1_ip", choices=sorted(CLIPS))
    options = made.parse_args()
    common.need_data()
    model = ["--runtime", options.runtime, "--precision", options.precision]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        clip = CLIPS[options.clip].path
        long = common.concatenate(clip, options.frames, Path(folder) / "long.mp4")
        short = common.concatenate(clip, options.frames // 10, Path(folder) / "short.mp4")
        for policy, mode in (("stride:30", "lookahead"), ("stride:30", "causal"), ("motion", "lookahead")):
            common.tell(f"{policy} {mode}")
            small, large = (peak_mib(path, policy, mode, model, folder) for path in (short, long))
            ratio = large / small
            lines.append(
                (
                    f"{policy}, {mode}",
                    f"{large:.0f}",
                    f"{small:.0f}",
                    f"{ratio:.3f}",
                    "yes" if ratio <= MOST else "**no**",
                )
            )
    heads = ("policy", f"{options.frames} frames, MiB", "a tenth, MiB", "ratio", f"≤ {MOST}")
    common.publish("memory", f"{options.clip}, repeated\n\n{common.markdown(heads, lines)}", options.write)


if __name__ == "__main__":
    main()
