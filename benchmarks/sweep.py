"""Accuracy of policies on many clips in a minute or two: known dense detections are replayed, so costs are not measured.

For trying out changes; `figures.py` makes the figures. `warm.py` fills the cache of detections once.
    python benchmarks/sweep.py --policy stride:10 --policy motion --mode lookahead
"""

from __future__ import annotations

from statistics import mean

import common
from common import CLIPS, PERSON, TRAFFIC, TWELVE, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--policy", action="append", help="default: stride:10; may be repeated")
    made.add_argument("--mode", action="append", choices=("causal", "lookahead"), help="default: both")
    common.add_clips(made, "the twelve of the means")
    made.add_argument("--classes", default="traffic", choices=("traffic", "person", "all"))
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    classes = {"traffic": TRAFFIC, "person": PERSON, "all": ()}[options.classes]
    heads = ("clip", "policy", "mode", "f1_dense", "f1_truth", "dense_f1_truth", "decoded", "CNN", "in part")
    lines = []
    means: dict[tuple[str, str], list[float]] = {}
    for name in options.clip or TWELVE:
        clip = CLIPS[name]
        truth = clip.truth_path if options.limit is None else None
        for mode in options.mode or ("causal", "lookahead"):
            settings = LabelSettings(
                mode=mode, classes=classes, limit=options.limit, model=common.model_of(options)
            )
            rows = evaluation.evaluate(
                str(clip.path), options.policy or ["stride:10"], settings, truth=truth, labelled=clip.labelled,
                measure=False,
            )  # fmt: skip
            for row in rows:
                means.setdefault((row.policy, row.mode), []).append(row.f1_dense)
                cells = (number(row.f1_dense), number(row.f1_truth), number(row.dense_f1_truth))
                looked = (row.decode_fraction, row.cnn_fraction, row.partial_fraction)
                shares = (number(share, ".1%") for share in looked)
                lines.append((name, row.policy, row.mode, *cells, *shares))
                common.tell(" ".join(lines[-1]))
    for (policy, mode), values in means.items():
        lines.append(("**mean**", policy, mode, number(mean(values)), *[""] * 5))
    print(common.markdown(heads, lines))


if __name__ == "__main__":
    main()
