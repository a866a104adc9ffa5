"""`everyframe models`: which models there are, where they come from, how good they are and what they cost here."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o


def models(
    *path: Annotated[str, Parameter(help="Model files to list beside those that are shipped.")],
    imgsz: o.ImgszOption = None,
    plot: Annotated[str | None, Parameter(help="Picture file to draw accuracy against cost and size into, .png or .svg.", group=o.OUTPUT)] = None,
    json: o.JsonFlag = False,
) -> int:
    """List models with their origin, size, accuracy against the model they were made from, and cost on this machine.

    Costs are of one look at a picture of 640x360 and one thread, in the fastest runtime here; they are measured now where they
    never were. Exit status 1 where one of them cannot be used.
    """
    import orjson
    from rich.console import Console
    from rich.table import Table

    from everyframe.pipeline.compression.listing import listed
    from everyframe.pipeline.compression.plotting import plot as draw

    rows = listed(path, imgsz or 640)
    if plot is not None:
        draw(rows, plot)
    status = int(any(row.fault for row in rows))
    if json:
        print(orjson.dumps([{name: getattr(row, name) for name in row.__slots__} for row in rows]).decode())
        return status
    table = Table("model", "made by", "MB", "F1 against its teacher", "runtime", "CPU ms a look", title_justify="left")
    for row in rows:
        f1 = "" if row.f1 is None else f"{row.f1:.3f}"
        ms = row.fault if row.cpu_ms is None else f"{row.cpu_ms:.1f}"
        table.add_row(row.model, row.recipe, f"{row.megabytes:.1f}", f1, f"{row.runtime} {row.precision}".strip(), ms)
    Console().print(table)
    return status
