"""`everyframe explain`: why a frame got the rung that it got."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o

if TYPE_CHECKING:
    from everyframe.pipeline.explain import Explanation

MOST = 12
"""Features shown to a person; JSON has all."""


def explain(
    video: Annotated[str, Parameter(help="The video that was labelled.")],
    /,
    *,
    frame: Annotated[int, Parameter(help="Which frame, from 0, as frame_index in the labels.", group=o.LABELS)],
    policy: o.PolicyOption = None,
    mode: o.ModeOptions = o.MODE,
    goals: o.GoalOptions = o.GOALS,
    classes: o.ClassesOption = None,
    conf: o.ConfOption = None,
    seed: o.SeedOption = None,
    cnn: o.CnnOptions = o.CNN,
    json: o.JsonFlag = False,
) -> int:
    """Show what a policy saw in one frame, the chances of each rung, and the price of error."""
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.errors import UsageError

    if video.endswith((".jsonl", ".parquet")):
        raise UsageError(
            f"{video} holds labels, and the run is repeated: name the video, as in everyframe explain clip.mp4 --frame {frame}, with "
            "the options of the run"
        )
    options = o.given(cnn, goals, mode, policy=policy or "learned", classes=classes, conf=conf, seed=seed)
    settings = make_settings(options).label_settings()

    import orjson

    from everyframe.pipeline.explain import explain as explained

    found = explained(video, frame, settings)
    if json:
        print(orjson.dumps(_plain(found)).decode())
        return 0
    _show(found)
    return 0


def _plain(found: Explanation) -> dict[str, Any]:
    record = found.record
    return {
        "frame_index": record.frame_index, "origin": record.origin.name.lower(), "reason": record.reason,
        "policy": record.policy, "objects": len(record.objects), **found.why,
    }  # fmt: skip


def _show(found: Explanation) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    plain = _plain(found)
    why = found.why
    table.add_row("frame", f"{plain['frame_index']}: {plain['origin']}, {plain['reason']}; {plain['objects']} objects")
    if "fallback" in why:
        table.add_row("decided by", str(why["fallback"]))
    if "price" in why:
        table.add_row("price of error", f"{why['price']:.3g} frames of the CNN for F1 from 0 to 1")
    for key in ("costs", "chances"):
        if key in why:
            table.add_row(key, "  ".join(f"{name} {value:.3f}" for name, value in why[key].items()))
    for key in ("weighed", "features"):
        if key in why:
            largest = sorted(why[key].items(), key=lambda item: -abs(item[1]))[:MOST]
            table.add_row(key, "  ".join(f"{name} {value:+.2f}" for name, value in largest))
    if not why:
        table.add_row("more", f"the policy {plain['policy']} follows a rule: the reason is all there is")
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
