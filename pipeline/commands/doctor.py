"""`everyframe doctor`: is the installation sound?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o


def doctor(
    *,
    redis: Annotated[
        str | None, Parameter(help="Redis URL to check. Default: $REDIS_URL.", group=o.OUTPUT)
    ] = None,
    json: o.JsonFlag = False,
) -> int:
    """Check the installation and the machine; exit 1 if something needed is broken."""
    import orjson
    from rich.console import Console
    from rich.table import Table

    from everyframe.pipeline.doctor import examine

    checks = list(examine(redis))
    faults = [check for check in checks if check.status == "fault"]
    if json:
        print(orjson.dumps({"ok": not faults, "checks": [asdict(check) for check in checks]}).decode())
        return 1 if faults else 0
    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": "ok", "note": "--", "fault": "!!"}
    for check in checks:
        found = check.found if not check.advice else f"{check.found}\n-> {check.advice}"
        table.add_row(marks[check.status], check.name, found)
    console = Console()
    console.print(table, highlight=False, markup=False)
    console.print(
        f"{len(faults)} faults" if faults else "all that is needed works", highlight=False, markup=False
    )
    return 1 if faults else 0
