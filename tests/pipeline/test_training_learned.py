"""`everyframe train`: from real traces to weights that the policy takes, with logs, and on again after a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tracing import recorded

from everyframe.pipeline.cli import call
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.training.learned import clip_weights
from everyframe.policies.brain import load
from everyframe.policies.learned import Learned
from everyframe.policies.registry import PolicyError, make_policy

CLIPS = ("pets_s2l1/pets_s2l1_ip.mp4", "highway/highway_ip.mp4")


@pytest.fixture(scope="module")
def traces(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERYFRAME_CACHE", str(folder / "cache"))
        paths = []
        for clip in CLIPS:
            path = folder / f"{Path(clip).stem}.trace.npz"
            tf.save(recorded(data_dir / clip, 40).trace, path)
            paths.append(str(path))
        yield paths


def trained(traces: list[str], out: Path, *more: str, mode: str = "causal") -> int:
    seeds = () if "--seeds" in more else ("--seeds", "1")
    return call([
        "train", traces[0], "--validation", traces[1], "--out", str(out), "--mode", mode, "--steps", "6", "--quiet", *seeds,
        *more,
    ])  # fmt: skip


def test_traces_become_weights_with_a_curve_and_logs(traces: list[str], tmp_path: Path, capsys) -> None:
    out, logs = tmp_path / "w.safetensors", tmp_path / "logs"
    assert trained(traces, out, "--seeds", "2", "--log-dir", str(logs)) == 0
    assert str(out) in capsys.readouterr().out
    brains, settings = load(out)
    assert [t["seed"] for t in settings["trainings"]] == [0, 1] and len(brains["causal"].curve.price) > 4
    line = json.loads((logs / "causal-0.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 6 and line["ratio"] > 0
    policy = Learned(None, "causal", out)
    assert policy.note == "" and policy.price_for(0.95) >= policy.price_for(0.8)
    assert Learned(None, "lookahead", out).note  # it has no weights for files


def test_a_finished_training_is_taken_up_and_gives_the_same_weights(traces: list[str], tmp_path: Path) -> None:
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    logs = str(tmp_path / "logs")
    assert trained(traces, first, "--log-dir", logs) == 0
    assert trained(traces, again, "--log-dir", logs, "--resume") == 0
    ours, theirs = load(first)[0]["causal"], load(again)[0]["causal"]
    assert all((a == b).all() for a, b in zip(ours.look_layers[0], theirs.look_layers[0], strict=True))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--minutes", "0"], "--minutes"),
        (["--seeds", "0"], "--seeds"),
        (["--weight", "half"], "--weight"),
        (["--reinforcement", "-1"], "--reinforcement"),
        (["--mode", "both ways"], "--mode"),
    ],
)
def test_wrong_options_are_one_sentence(more: list[str], said: str, capsys) -> None:
    assert call(["train", "x.trace.npz", "--out", "w.safetensors", *more]) == 2
    assert said in capsys.readouterr().err


def test_the_weights_need_the_ending_that_they_have(capsys) -> None:
    assert call(["train", "x.trace.npz", "--out", "w.bin"]) == 2
    assert ".safetensors" in capsys.readouterr().err


def test_no_trace_and_one_camera_are_told(traces: list[str], tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "w.safetensors")
    assert call(["train", str(tmp_path / "none.trace.npz"), "--out", out]) == 1
    assert "everyframe record" in capsys.readouterr().err
    assert call(["train", traces[0], "--out", out, "--mode", "causal", "--quiet"]) == 2
    assert "several cameras" in capsys.readouterr().err


def test_equal_traces_and_seeds_give_equal_weights_and_curves(traces: list[str], tmp_path: Path) -> None:
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert trained(traces, first, "--weight", "pets_*=0.5", mode="both") == 0
    assert trained(traces, again, "--weight", "pets_*=0.5", mode="both") == 0
    ours, theirs = load(first), load(again)
    for mode in ("causal", "lookahead"):
        assert ours[0][mode].curve == theirs[0][mode].curve
    a, b = load_file(first), load_file(again)
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)
    assert ours[1]["clips"] == {"pets_s2l1_ip": 0.5}


def test_clips_weigh_as_patterns_say() -> None:
    names = ["yard", "yard_b", "gate_b"]
    assert clip_weights(names, ()) == (1.0, 1.0, 1.0)
    assert clip_weights(names, (("*_b", 0.5), ("yard*", 3.0))) == (3.0, 1.5, 0.5)
    with pytest.raises(UsageError, match="no trace"):
        clip_weights(names, (("door*", 1.0),))


def test_a_run_takes_weights_of_ones_own(traces: list[str], tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    assert trained(traces, out) == 0
    assert isinstance(policy := make_policy(f"learned:{out}", "causal"), Learned) and not policy.note
    assert isinstance(policy := make_policy(f"learned:0.3:{out}", "causal"), Learned) and policy.price == 0.3
    with pytest.raises(PolicyError, match="no weights"):
        make_policy(f"learned:{tmp_path / 'none.safetensors'}")
    with pytest.raises(PolicyError, match="above 0"):
        make_policy(f"learned:-1:{out}")
