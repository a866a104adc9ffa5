"""Is `stride:10`, causal, better than what users would otherwise take, at a like cost? On every clip, all in one process.

Won: more F1 than the peer at 1.1 times its CPU or less.
    python benchmarks/peers.py --write
"""

from __future__ import annotations

from typing import Any

import common
from common import CLIPS, TRAFFIC, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings

OURS = "stride:10"
PEERS = ("peer:stride-hold:10", "peer:bytetrack:10", "peer:dis-flow:10")
MOST_COST = 1.1


def verdict(ours: dict[str, Any], peer: dict[str, Any]) -> tuple[str, ...]:
    ratio = ours["cpu_ms_per_frame"] / peer["cpu_ms_per_frame"]
    won = ours["f1_dense"] > peer["f1_dense"] and ratio <= MOST_COST
    return (
        ours["video"].removesuffix(".mp4"),
        peer["policy"],
        number(ours["f1_dense"]),
        number(peer["f1_dense"]),
        number(ours["cpu_ms_per_frame"], ".2f"),
        number(peer["cpu_ms_per_frame"], ".2f"),
        number(ratio, ".2f"),
        "yes" if won else "**no**",
    )


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, "all")
    made.add_argument("--again", action="store_true", help="measure also what is known from an earlier run")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    store = common.Store(common.ROOT / "build" / "peers.jsonl", options.again)
    settings = LabelSettings(
        mode="causal", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )

    def compare(name: str) -> dict[str, Any]:
        common.tell(name)
        rows = evaluation.evaluate(str(CLIPS[name].path), [OURS, *PEERS], settings)
        return {"rows": [row.as_json() for row in rows]}

    lines = []
    for name in options.clip or CLIPS:
        key = (name, options.runtime, options.precision, options.limit)
        ours, *peers = store.get(key, lambda name=name: compare(name))["rows"]
        lines += [verdict(ours, peer) for peer in peers]
    heads = ("clip", "peer", "our F1", "peer F1", "our CPU ms", "peer CPU ms", "cost ratio", "won")
    won = sum(line[-1] == "yes" for line in lines)
    text = f"Won {won} of {len(lines)}.\n\n{common.markdown(heads, lines)}"
    common.publish(f"peers {options.runtime} {options.precision}", text, options.write)


if __name__ == "__main__":
    main()
