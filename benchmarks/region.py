"""What does the rung `region` bring, and at what price? Each policy against dense in one process, causal.

    python benchmarks/region.py --write
"""

from __future__ import annotations

import common
from common import CLIPS, TRAFFIC, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings

WANTED = {
    "pets_s2l1_ip": ("stride:10", "region:10", "region"),
    "one_by_one_person": ("stride:10", "motion", "region"),
    "parking": ("stride:10", "motion", "region"),
}


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.need_data()
    common.one_thread()
    settings = LabelSettings(
        mode="causal", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )
    lines = []
    for name, policies in WANTED.items():
        common.tell(name)
        rows = evaluation.evaluate(str(CLIPS[name].path), policies, settings)
        base = rows[0].cpu_ms_per_frame
        for row in rows:
            ratio = row.cpu_ms_per_frame / base if row.cpu_ms_per_frame and base else None
            lines.append((
                name, row.policy, number(row.f1_dense), number(row.cpu_ms_per_frame, ".2f"), number(ratio, ".2f"),
                number(row.speedup, ".1f"), number(row.cnn_fraction, ".1%"), number(row.partial_fraction, ".1%"),
            ))  # fmt: skip
    heads = ("clip", "policy", "f1_dense", "CPU ms", "against stride:10", "speedup", "whole looks", "in part")
    common.publish(f"region {options.runtime} {options.precision}", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
