"""Settings from options, YAML files and presets: merged, checked as a whole, every mistake named at once."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from everyframe.pipeline.errors import SettingsError, mask_secrets
from everyframe.pipeline.settings import FULL, HELP, STEERED, RunSettings
from everyframe.pipeline.suggest import did_you_mean

_KEYS = tuple(field.name for field in fields(RunSettings))
_LISTS = ("classes", "format", "capacities")
GOALS = ("target_f1", "budget_ms", "speedup")
_SECRET = ("redis", "address", "url", "http_token")
_ADAPTER = TypeAdapter(RunSettings)
_KIND_OF_ERROR = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "tuple": "a list",
}


def presets() -> dict[str, Path]:
    """The presets that ship with everyframe, by name."""
    folder = Path(str(files("everyframe.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(name: str) -> dict[str, Any]:
    """The keys and values of a YAML file, given by path or by a preset's name; unchecked.

    Raises SettingsError: no such file or preset, unreadable, not YAML, a key given twice.
    """
    path = presets().get(name, Path(name))
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as e:
        raise SettingsError(f"no file or preset {name!r}{did_you_mean(name, presets())}") from e
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}; name a YAML file with settings") from e
    try:
        found = YAML(typ="safe", pure=True).load(text)
    except YAMLError as e:
        raise SettingsError(f"{path} is not valid YAML: {_yaml_problem(e)}") from e
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path} must hold lines of 'key: value', such as 'policy: motion'")
    return {str(key): value for key, value in found.items()}


def make_settings(
    options: Mapping[str, Any],
    file: Mapping[str, Any] | None = None,
    file_name: str = "",
    dashes: bool = True,
) -> RunSettings:
    """Options over file values over defaults, checked.

    options: field name to value, None where not given. dashes: whether messages name them as on the command line.
    Raises SettingsError with one sentence that names every mistake.
    """
    values: dict[str, Any] = dict(file or {})
    where = {key: f"{key} in {file_name}" for key in values}
    for key, value in options.items():
        if value is not None:
            values[key] = value
            where[key] = "--" + key.replace("_", "-") if dashes else key
    for key in _LISTS:
        if key in values:
            values[key] = split(values[key])
    # No setting is a yes or no, and pydantic would read true as 1.
    mistakes = [
        f"{where[key]}: true and false mean nothing here" for key in values if isinstance(values[key], bool)
    ]
    names = [f"{where[key]}: {problem}" for key, problem in _unknown_names(values)]
    names += _goals(values, where)
    names += _capacities(values, where)
    try:
        settings = _ADAPTER.validate_python(values)
    except ValidationError as e:
        # Without the input: it may hold a password.
        found = e.errors(include_input=False, include_url=False)
        mistakes += [mistake(dict(error), values, where) for error in found]
        raise SettingsError("; ".join(dict.fromkeys(mistakes + names))) from None
    if mistakes or names:
        raise SettingsError("; ".join(mistakes + names))
    return settings


def _goals(values: dict[str, Any], where: Mapping[str, str]) -> list[str]:
    """A goal takes the policy that can be held to one, and there is one goal at most."""
    goals = [key for key in GOALS if values.get(key) is not None]
    if not goals:
        return []
    if len(goals) > 1:
        return [f"{' and '.join(where[key] for key in goals)} exclude each other: give one of them"]
    if values.setdefault("policy", STEERED) != STEERED:
        return [f"{where[goals[0]]} is for the policy {STEERED}: leave --policy out, or give {STEERED}"]
    return []


def _capacities(values: dict[str, Any], where: Mapping[str, str]) -> list[str]:
    """Several capacities take a policy that chooses among them, and models other than the run's own."""
    others, policy = values.get("capacities"), values.get("policy")
    if not isinstance(others, tuple) or not others:
        return []
    from everyframe.policies.base import Choosing
    from everyframe.policies.registry import PolicyError, make_policy

    problems = []
    try:
        if isinstance(policy, str) and not isinstance(make_policy(policy), Choosing):
            problems.append(f"{where['capacities']}: the policy {policy} looks with --model alone: give motion or learned")
    except PolicyError:
        pass  # told by `_unknown_names`
    model = values.get("model", FULL[0])
    if set(FULL if model in FULL else (model,)) & set(others):
        problems.append(f"{where['capacities']}: name models other than --model, as in fast")
    return problems


def to_yaml(settings: RunSettings) -> str:
    """The settings as YAML that `--config` reads, each key with its meaning; passwords masked."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    lines = []
    for key in _KEYS:
        value = getattr(settings, key)
        value = list(value) if isinstance(value, tuple) else value
        value = mask_secrets(value) if isinstance(value, str) else value
        buffer = io.StringIO()
        yaml.dump({key: value}, buffer)
        lines.append(f"# {HELP[key]}\n{buffer.getvalue().strip()}")
    return "\n".join(lines) + "\n"


def split(value: Any) -> Any:
    """Lists may be written as text with commas, on the command line several times."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        return value
    parts: list[Any] = []
    for item in value:
        parts += (
            [part.strip() for part in item.split(",") if part.strip()] if isinstance(item, str) else [item]
        )
    return tuple(dict.fromkeys(parts)) if all(isinstance(part, str) for part in parts) else tuple(parts)


def mistake(
    error: dict[str, Any], values: Mapping[str, Any], where: Mapping[str, str], known: Iterable[str] = _KEYS
) -> str:
    """A sentence on one error that pydantic found. where: what to call each key. known: keys that there are."""
    key = str(error["loc"][0])
    kind, context = error["type"], error.get("ctx", {})
    place = where.get(key, key)
    if kind == "unexpected_keyword_argument":
        return f"{place}: unknown setting{did_you_mean(key, known)}"
    if kind in ("missing", "missing_argument"):
        return f"{place}: it is missing"
    value = values.get(key)
    if len(error["loc"]) > 1 and isinstance(value, tuple) and isinstance(error["loc"][1], int):
        value = value[error["loc"][1]]
    text = mask_secrets(str(value))[:60]
    shown = "" if key in _SECRET else f", not {text!r}" if isinstance(value, str) else f", not {text}"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(str(value), choices)
        return f"{place}: no such choice {str(value)[:60]!r}{hint}"
    bounds = {
        "greater_than": "a number above {gt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "less_than_equal": "a number of at most {le:g}",
        "multiple_of": "a multiple of {multiple_of:g}",
        "finite_number": "a number",
    }
    if kind in bounds:
        return f"{place}: write {bounds[kind].format(**context)}{shown}"
    wanted = next((text for start, text in _KIND_OF_ERROR.items() if kind.startswith(start)), "another value")
    return f"{place}: write {wanted}{shown}"


def _unknown_names(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Policy and classes that do not exist: only their owners can tell."""
    from everyframe.policies.registry import PolicyError, make_policy

    problems = []
    policy, classes = values.get("policy"), values.get("classes", ())
    if isinstance(policy, str):
        try:
            make_policy(policy)
        except PolicyError as e:
            problems.append(("policy", str(e).rstrip(".")))
    if classes and isinstance(classes, tuple):
        known, whose = _classes_of(values.get("model"))
        unknown = [name for name in classes if isinstance(name, str) and name not in known]
        problems += [("classes", f"no {whose} {name!r}{did_you_mean(name, known)}") for name in unknown]
    return problems


def _classes_of(model: Any) -> tuple[tuple[str, ...], str]:
    """The names that `classes` may hold, and what to call them. A model that can't be read is reported when it is opened."""
    from everyframe.operators.detectors.coco import NAMES
    from everyframe.operators.errors import OperatorError

    if not isinstance(model, str) or not model.lower().endswith((".onnx", ".yaml", ".yml", ".py")):
        return NAMES, "COCO class"
    from everyframe.pipeline.models import class_names

    try:
        return class_names(model), f"class of {model}"
    except OperatorError as e:
        raise SettingsError(str(e)) from e


def _yaml_problem(error: YAMLError) -> str:
    """What is wrong and in which line, without quoting the file: it may hold a password."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or "it cannot be parsed").split("\n")[0]
    if "found duplicate key" in problem:
        problem = "a key is given twice"
    return problem if mark is None else f"{problem} (line {mark.line + 1})"
