"""Trains the weights of the policy `learned` that the package ships, from recorded clips, by `everyframe train`.

    python benchmarks/learned_train.py --out policies/data/learned.safetensors
    python benchmarks/learned_train.py --out imitation.safetensors -- --imitation 200 --mode causal --seeds 1

What stands behind -- goes to everyframe train as it is; the whole command is printed. Equal traces give equal weights.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import common
import tracing

from everyframe.pipeline.cli import call
from everyframe.pipeline.settings import ModelSettings

WEIGHTS = {
    "pets_s2l1_*": 0.5, "adl_rundle6_*": 0.5, "office_*": 0.5,  # one camera twice, coded in two ways
    "dashcam": 0.5, "traffic_jitter_ip": 0.5,  # 38 frames; a camera that shakes
}  # fmt: skip


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", required=True, help="the weights")
    made.add_argument("--traces", help="folder of traces; default: in the cache folder")
    made.add_argument("more", nargs="*", help="options of everyframe train, behind --")
    options = made.parse_args()
    common.need_data()
    model, folder = ModelSettings(runtime="torch", precision="f32"), tracing.folder_of(options.traces)
    paths = {name: str(tracing.trace_of(name, model, folder)) for name in common.CLIPS}
    words = ["train", *(path for name, path in paths.items() if name not in common.VALIDATION), "--out", options.out]
    for name in common.VALIDATION:
        words += ["--validation", paths[name]]
    for pattern, share in WEIGHTS.items():
        words += ["--weight", f"{pattern}={share:g}"]
    words += ["--classes", ",".join(common.TRAFFIC), *options.more]
    common.tell(shlex.join(["everyframe", *words]))
    return call(words)


if __name__ == "__main__":
    sys.exit(main())
