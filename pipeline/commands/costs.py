"""`everyframe costs`: what each rung costs on this machine."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def costs(
    *,
    measure: Annotated[bool, o.flag("Measure again instead of showing what is known.", o.ENGINE)] = False,
    size: Annotated[
        str, Parameter(help="Picture size to measure for, as in 1280x720.", group=o.MODEL)
    ] = "1280x720",
    cnn: o.CnnOptions = o.CNN,
    json: o.JsonFlag = False,
) -> int:
    """Show, or measure again, the CPU time of each rung on this machine."""
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.costs.machine import machine_id
    from everyframe.pipeline.costs.measure import measure_costs, translated
    from everyframe.pipeline.costs.rungs import measure_rungs
    from everyframe.pipeline.costs.table import default_table
    from everyframe.pipeline.models import names_of

    options = o.given(cnn)
    width, height = _size(size)
    table = default_table()
    wanted = make_settings(options).label_settings()
    with translated():
        names = names_of([wanted.model.model, *(capacity.name for capacity in wanted.capacities)])
    if measure or not table.rows(machine_id()):
        measure_costs(wanted.model, width, height, table)
        measure_rungs(wanted.model, width, height, table)
    for capacity in wanted.capacities:
        measure_costs(capacity.model, width, height, table, again=measure)
    rows = [
        {
            "rung": row.rung, "capacity": names.get(row.model, "") if row.rung == "detect" else "", "size": row.size, "runtime": row.runtime, "precision": row.precision,
            "threads": row.threads, "model": row.model[:12], "version": row.version, "cpu_ms": row.ms,
        }
        for row in table.rows(machine_id())
    ]  # fmt: skip
    _show(rows, machine_id(), str(table.path), json)
    return 0


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 16384 for part in parts):
        raise UsageError(f"--size: write width x height in pixels, as in 1280x720, not {text[:40]!r}")
    return int(parts[0]), int(parts[1])


def _show(rows: list[dict[str, Any]], machine: str, path: str, json: bool) -> None:
    import orjson
    from rich.console import Console
    from rich.table import Table

    if json:
        print(orjson.dumps({"machine": machine, "file": path, "costs": rows}).decode())
        return
    table = Table(title=f"CPU ms for one frame on {machine}", caption=f"kept in {path}")
    for name in ("rung", "size", "runtime", "precision", "threads", "cpu ms"):
        table.add_column(name, justify="right" if name in ("threads", "cpu ms") else "left")
    for row in sorted(rows, key=lambda r: float(r["cpu_ms"]), reverse=True):
        table.add_row(
            f"{row['rung']}@{row['capacity']}" if row["capacity"] else row["rung"],
            row["size"],
            row["runtime"],
            row["precision"],
            str(row["threads"]),
            f"{row['cpu_ms']:.3f}",
        )
    Console().print(table)
