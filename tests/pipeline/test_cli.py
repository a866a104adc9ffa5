"""The command line in this process: parsing, exit statuses, where output goes."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest

from everyframe import __version__
from everyframe.pipeline import cli
from everyframe.pipeline.errors import SettingsError, SourceError
from everyframe.pipeline.runs.interrupts import Interrupts

COMMANDS = ("run", "evaluate", "labels", "costs", "doctor")


def test_help_names_every_command_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["--help"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert all(command in out for command in COMMANDS)
    for command in COMMANDS:
        assert cli.call([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert "Examples:" in out, command
        assert f"everyframe {command}" in out
    assert cli.call(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"everyframe {__version__}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from everyframe.pipeline.cli import call; call(['run', '--help']);"
        "heavy = {'torch', 'ray', 'openvino', 'supervision', 'av', 'numba', 'cv2', 'redis'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ""),
        ("run", "no SOURCE"),
        ("run x.mp4 --causal --lookahead", "exclude each other"),
        ("run x.mp4 --polcy dense", "--policy"),
        ("run x.mp4 --conf abc", "--conf"),
        ("run x.mp4 --conf 2", "--conf"),
        ("run x.mp4 --engine spark", "spark"),
        ("run x.mp4 --config nowhere.yaml", "nowhere.yaml"),
        ("run x.mp4 --redis localhost", "--redis"),
        ("run x.mp4 --classes persn", "'person'"),
        ("runn x.mp4", "runn"),
        ("evaluate", "VIDEO"),
        ("evaluate x.mp4 --labelled 9-3", "--labelled"),
        ("costs --size big", "--size"),
        ("labels --limit 0", "--limit"),
    ],
)
def test_misuse_is_one_line_on_stderr_and_exit_2(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.call(line.split())
    out, err = capsys.readouterr()
    if not line:
        assert status == 0
        return
    assert status == 2
    assert not out
    assert err.startswith("everyframe: ")
    assert err.count("\n") == 1
    assert words in err


def test_print_config_merges_and_masks(capsys: pytest.CaptureFixture[str]) -> None:
    line = "run --config quick --conf 0.5 --causal --redis redis://me:secret@host/0 --print-config"
    assert cli.call(line.split()) == 0
    out = capsys.readouterr().out
    assert "policy: iframes" in out
    assert "conf: 0.5" in out
    assert "mode: causal" in out
    assert "secret" not in out


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SourceError("clip.mp4 is empty: name another file"), 1),
        (SettingsError("conf: write less"), 2),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (ZeroDivisionError("x\ny"), 1),
        (SourceError("cannot open rtsp://me:secret@host/x"), 1),
    ],
)
def test_every_exception_is_one_line(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise error

    assert cli.guarded(action) == status
    err = capsys.readouterr().err
    assert err.startswith("everyframe: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert cli.guarded(action, debug=True) == status
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "secret" not in err


def test_a_closed_pipe_is_no_failure() -> None:
    code = "from everyframe.pipeline.cli import guarded\nimport sys\nsys.exit(guarded(lambda: [print(i) for i in range(99999)] and 0))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert err == b""


def test_costs_are_measured_once_and_kept(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path_factory.mktemp("cache")))
    line = "costs --size 64x64 --imgsz 64 --runtime torch --precision f32 --json"
    assert cli.call(line.split()) == 0
    first = orjson.loads(capsys.readouterr().out)
    assert {row["rung"] for row in first["costs"]} >= {"detect", "propagate", "hold"}
    assert all(row["cpu_ms"] > 0 for row in first["costs"])
    assert cli.call(line.split()) == 0
    assert orjson.loads(capsys.readouterr().out) == first


def test_doctor_finds_this_installation_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["doctor", "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["ok"]
    names = {check["name"] for check in found["checks"]}
    assert {"python", "torch", "ffmpeg", "cpu", "cache", "memory", "redis", "runtime torch"} <= names


def test_doctor_says_what_to_do_about_a_dead_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["doctor", "--redis", "redis://me:secret@127.0.0.1:1/0", "--json"]) == 1
    out = capsys.readouterr().out
    assert "secret" not in out
    checks = {check["name"]: check for check in orjson.loads(out)["checks"]}
    assert checks["redis"]["status"] == "fault"
    assert checks["redis"]["advice"]


def test_signals_break_in_only_where_allowed() -> None:
    import os
    import signal

    written = []
    before = signal.getsignal(signal.SIGINT)  # a shell's background job has it ignored
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        written.append("a whole record")  # not allowed here: the signal waits
        with interrupts.allowed():
            written.append("never")
    assert written == ["a whole record"]
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.allowed():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    assert signal.getsignal(signal.SIGINT) is before
