"""docs/labels.md and docs/security.md say what is true: the tables, the code, the rights a user needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis

from everyframe.pipeline.errors import RedisError
from everyframe.pipeline.labels import read_labels
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.schema import ORIGINS, json_schema
from everyframe.pipeline.sinks import FORMATS, RedisTarget, make_sinks
from everyframe.pipeline.sinks.embedded import EmbeddedRedis
from everyframe.pipeline.sinks.entries import OBJECT_COLUMNS
from everyframe.pipeline.sinks.redis import Connection, RedisSink

NAMES = ("person", "bicycle", "car")


def python_blocks(root: Path) -> list[str]:
    page = (root / "docs" / "labels.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def row(name: str, field: dict[str, Any]) -> str:
    kind = " or ".join(part["type"] for part in field.get("anyOf", [field]))
    return f"| `{name}` | {kind} | {field['description']} |"


def test_the_tables_are_those_of_the_schema(root: Path) -> None:
    page, schema = (root / "docs" / "labels.md").read_text(), json_schema()
    for part in (schema, schema["$defs"]["ObjectRecord"]):
        assert "\n".join(row(*item) for item in part["properties"].items()) in page
    for kind, entry in FORMATS.items():
        assert f"| `{kind}` | `NAME{entry.suffix}` |" in page
    for origin in ORIGINS:
        assert f"- `{origin}`: " in page
    assert f"[{', '.join(OBJECT_COLUMNS)}]" in page


def test_the_code_runs(
    root: Path, tmp_path: Path, source_info: SourceInfo, make_labels: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with EmbeddedRedis(tmp_path / "out" / "redis") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        labels = make_labels(100)
        for sink in make_sinks(["jsonl"], "out", source_info, NAMES, redis=RedisTarget(server.url)):
            with sink:
                sink.write(labels)
        space: dict[str, Any] = {}
        for code in python_blocks(root):
            exec(compile(code, "docs/labels.md", "exec"), space)  # noqa: S102  (our own page)
    objects = sum(len(record.objects) for record in labels)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == objects + 1
    assert printed[-1] == f"{objects} objects"
    assert space["record"]["frame_index"] == 99
    assert space["labels"].objects.xyxy.shape == (len(labels[-1].objects), 4)


def test_the_consumer_has_ten_lines_at_most(root: Path) -> None:
    consumer = next(block for block in python_blocks(root) if "client.xread(" in block)
    assert len(consumer.splitlines()) <= 10


def test_the_listed_rights_are_enough_and_needed(root: Path, tmp_path: Path, make_labels: Any) -> None:
    (command,) = re.findall(r"^ACL SETUSER .*$", (root / "docs" / "security.md").read_text(), re.MULTILINE)
    with EmbeddedRedis(tmp_path) as server:
        admin = redis.Redis.from_url(server.url)
        admin.execute_command(*command.split())
        url = server.url.replace("unix://", "unix://everyframe:PASSWORD@")
        for _ in range(2):
            with RedisSink(url, "clip", NAMES) as sink:
                sink.write(make_labels(5))
        assert sink.already == 5
        assert len(list(read_labels(url))) == 5
        assert Connection(url).client.info("server")
        admin.execute_command("ACL", "SETUSER", "everyframe", "-xadd")
        with RedisSink(url, "clip", NAMES) as sink, pytest.raises(RedisError, match="does not allow this user"):
            sink.write(make_labels(10))
