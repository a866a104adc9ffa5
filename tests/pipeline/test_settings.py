"""Settings: options over files over defaults; every mistake named at once, no secret shown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from everyframe.pipeline.config import load_config, make_settings, presets, to_yaml
from everyframe.pipeline.errors import SettingsError
from everyframe.pipeline.settings import HELP, Format, Goal, RunSettings
from everyframe.pipeline.sinks.registry import FORMATS
from everyframe.policies.registry import POLICIES


def refused(options: dict[str, Any], file: dict[str, Any] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        make_settings(options, file, "my.yaml")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_are_valid_and_documented() -> None:
    assert make_settings({}) == RunSettings()
    assert set(HELP) == {field.name for field in fields(RunSettings)}


def test_formats_are_those_of_the_sinks() -> None:
    assert get_args(Format) == tuple(FORMATS)


def test_options_win_over_the_file() -> None:
    made = make_settings({"conf": 0.6, "policy": None}, {"conf": 0.3, "policy": "stride:4"})
    assert (made.conf, made.policy) == (0.6, "stride:4")
    assert made.label_settings().policy == "stride:4"


@pytest.mark.parametrize("written", ["person, car", ["person", "car"], ["person,car"], ("person", "car", "person")])
def test_lists_may_be_text_with_commas(written: Any) -> None:
    assert make_settings({"classes": written}).classes == ("person", "car")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conf": 3.0}, ["--conf", "at most 1", "3.0"]),
        ({"conf": float("nan")}, ["--conf"]),
        ({"limit": 0}, ["--limit", "at least 1"]),
        ({"imgsz": 100}, ["--imgsz", "multiple of 32"]),
        ({"policy": "strid:10"}, ["--policy", "stride"]),
        ({"policy": "stride:0"}, ["--policy", "at least 1"]),
        ({"classes": ["persn"]}, ["--classes", "'persn'", "'person'"]),
        ({"format": ["jsonl", "vidoe"]}, ["--format", "'vidoe'", "'video'"]),
        ({"runtime": "tensorrt"}, ["--runtime", "'tensorrt'", "openvino"]),
        ({"redis_maxlen": -1}, ["--redis-maxlen", "at least 0"]),
        ({"workers": "many"}, ["--workers", "whole number", "'many'"]),
    ],
)
def test_a_mistake_says_where_and_what_to_write(options: dict[str, Any], words: list[str]) -> None:
    text = refused(options)
    assert all(word in text for word in words), text


def test_all_mistakes_at_once() -> None:
    text = refused(
        {"conf": 7}, {"polcy": "dense", "imgsz": "big", "classes": ["dgo"], "limit": True, "mode": "casual"}
    )
    for words in ("--conf", "polcy in my.yaml", "'policy'", "imgsz in my.yaml", "'dog'", "limit in my.yaml", "'causal'"):
        assert words in text, text


def test_python_names_have_no_dashes() -> None:
    with pytest.raises(SettingsError, match=r"^redis_maxlen:"):
        make_settings({"redis_maxlen": -1}, dashes=False)


@given(secret=st.text("abcdefgh@/:", min_size=8, max_size=20))
@settings(deadline=None)
def test_secrets_are_never_shown(secret: str) -> None:
    url = f"redis://user:{secret}XYZZY@host:6379/0"
    assert "XYZZY" not in refused({"redis": [url], "address": {"u": url}, "conf": 9})
    assert "XYZZY" not in to_yaml(make_settings({"redis": url}))


def test_printed_settings_read_back() -> None:
    made = make_settings({"policy": "stride:7", "classes": "traffic light,car", "limit": 9, "format": "csv,mot"})
    loaded = YAML(typ="safe", pure=True).load(to_yaml(made))
    assert make_settings({}, loaded) == made


def test_every_preset_is_valid_and_opens_with_its_command() -> None:
    assert set(presets()) >= {"archive", "quick", "dense-check"}
    for name, path in presets().items():
        assert isinstance(make_settings({}, load_config(name), name), RunSettings)
        assert path.read_text().startswith("# everyframe run "), name
        assert f"--config {name}" in path.read_text().splitlines()[0]


def test_a_file_wins_over_no_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("policy: dense\nclasses: [person]\n")
    assert make_settings({}, load_config(str(path))).classes == ("person",)
    path.write_text("# nothing\n")
    assert load_config(str(path)) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy: dense\npolicy: motion\n", "given twice"),
        ("policy: [dense\n", "not valid YAML"),
        ("- dense\n", "key: value"),
        ("redis: !!python/object:os.system x\n", "not valid YAML"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError, match=words) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_unknown_file_offers_the_nearest_preset(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'archive'"):
        load_config("archiv")
    with pytest.raises(SettingsError, match="cannot read"):
        load_config(str(tmp_path))


def test_a_goal_takes_the_policy_that_can_be_held_to_it():
    assert make_settings({"target_f1": 0.95}).policy == "learned"
    assert make_settings({"speedup": 8.0, "policy": "learned"}).label_settings().goal == Goal(speedup=8.0)
    assert make_settings({"policy": "learned"}).label_settings().goal == Goal(target_f1=0.9)
    assert make_settings({"policy": "learned:0.5"}).label_settings().goal == Goal()
    assert make_settings({"policy": "motion"}).label_settings().goal == Goal()


def test_audits_are_on_where_an_accuracy_is_held():
    assert make_settings({"policy": "learned"}).label_settings().audit == 0.01
    assert make_settings({"policy": "learned", "audit": 0.0}).label_settings().audit == 0
    assert make_settings({}).label_settings().audit == 0
    assert make_settings({"audit": 0.05}).label_settings().audit == 0.05


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target_f1": 0.9, "speedup": 3.0}, "--target-f1 and --speedup exclude each other: give one of them"),
        ({"budget_ms": 4.0, "policy": "motion"}, "--budget-ms is for the policy learned: leave --policy out, or give learned"),
        ({"budget_ms": 0.0}, "--budget-ms: write a number above 0, not 0.0"),
        ({"target_f1": 1.5}, "--target-f1: write a number of at most 0.99, not 1.5"),
    ],
)
def test_goals_that_cannot_be(options, says):
    assert says in refused(options)


def test_help_names_every_policy():
    assert not [entry.form for entry in POLICIES.values() if entry.form.partition(":")[0] not in HELP["policy"]]
