"""Options that several commands share: their help comes from the settings, their defaults too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Group, Parameter

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.settings import HELP, EngineName, Precision, RunSettings, Runtime

_DEFAULTS = {field.name: field.default for field in fields(RunSettings)}

LABELS = Group("What is labelled", sort_key=1)
MODEL = Group("The CNN", sort_key=2)
OUTPUT = Group("Where labels go", sort_key=3)
ENGINE = Group("How it runs", sort_key=4)


def option(key: str, group: Group) -> Parameter:
    """An option named after a field of `RunSettings`; unset it is None, so that a YAML file can speak."""
    default = _DEFAULTS[key]
    shown = ",".join(default) if isinstance(default, tuple) else default
    text = HELP[key] if shown in (None, "") else f"{HELP[key]} [default: {shown}]"
    return Parameter(help=text, group=group, negative=())


def flag(text: str, group: Group) -> Parameter:
    """A switch without a --no- twin."""
    return Parameter(help=text, group=group, negative=())


PolicyOption = Annotated[str | None, option("policy", LABELS)]
ClassesOption = Annotated[list[str] | None, option("classes", LABELS)]
ConfOption = Annotated[float | None, option("conf", LABELS)]
LimitOption = Annotated[int | None, option("limit", LABELS)]
SeedOption = Annotated[int | None, option("seed", LABELS)]
AuditOption = Annotated[float | None, option("audit", LABELS)]
TargetOption = Annotated[float | None, option("target_f1", LABELS)]
BudgetOption = Annotated[float | None, option("budget_ms", LABELS)]
SpeedupOption = Annotated[float | None, option("speedup", LABELS)]
CausalFlag = Annotated[bool, flag("Labels use the past only, as on a live stream.", LABELS)]
LookaheadFlag = Annotated[bool, flag("Labels use the next key frame too. [default for files]", LABELS)]
ModelOption = Annotated[str | None, option("model", MODEL)]
CapacitiesOption = Annotated[list[str] | None, option("capacities", MODEL)]
ImgszOption = Annotated[int | None, option("imgsz", MODEL)]
RuntimeOption = Annotated[Runtime | None, option("runtime", MODEL)]
PrecisionOption = Annotated[Precision | None, option("precision", MODEL)]
DeviceOption = Annotated[str | None, option("device", MODEL)]
ThreadsOption = Annotated[int | None, option("threads", MODEL)]
EngineOption = Annotated[EngineName | None, option("engine", ENGINE)]
WorkersOption = Annotated[int | None, option("workers", ENGINE)]
AddressOption = Annotated[str | None, option("address", ENGINE)]
OutOption = Annotated[str | None, option("out", OUTPUT)]
FormatOption = Annotated[list[str] | None, option("format", OUTPUT)]
RedisOption = Annotated[str | None, option("redis", OUTPUT)]
RedisMaxlenOption = Annotated[int | None, option("redis_maxlen", OUTPUT)]
RedisWaitOption = Annotated[float | None, option("redis_wait", OUTPUT)]
ConfigOption = Annotated[
    str | None,
    Parameter(help="YAML file with settings, or a preset's name; options win over it.", group=ENGINE),
]
TruthOption = Annotated[str | None, Parameter(help="Ground truth in MOT format.", group=LABELS)]
LabelledOption = Annotated[
    str | None,
    Parameter(help="First and last labelled frame of the truth, from 1, as in 470-1000.", group=LABELS),
]
PlotOption = Annotated[str | None, Parameter(help="Draw cost against F1 into this .png, .svg or .pdf.", group=OUTPUT)]
JsonFlag = Annotated[bool, flag("Print the result as JSON on stdout.", OUTPUT)]


@dataclass(frozen=True)
class Options:
    """Options that come together in several commands: one parameter of each, flattened on the command line."""

    def given(self) -> dict[str, Any]:
        """Values by the names of `RunSettings`; None where an option was not given."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@Parameter(name="*")
@dataclass(frozen=True)
class OneCnnOptions(Options):
    """Which CNN, and what runs it."""

    model: ModelOption = None
    imgsz: ImgszOption = None
    runtime: RuntimeOption = None
    precision: PrecisionOption = None
    device: DeviceOption = None
    threads: ThreadsOption = None


@Parameter(name="*")
@dataclass(frozen=True)
class CnnOptions(OneCnnOptions):
    """Which CNN, and those beside it."""

    capacities: CapacitiesOption = None


@Parameter(name="*")
@dataclass(frozen=True)
class GoalOptions(Options):
    """What a policy is to reach, and how that is checked."""

    target_f1: TargetOption = None
    budget_ms: BudgetOption = None
    speedup: SpeedupOption = None
    audit: AuditOption = None


@Parameter(name="*")
@dataclass(frozen=True)
class RedisOptions(Options):
    """Where labels are published."""

    redis: RedisOption = None
    redis_maxlen: RedisMaxlenOption = None
    redis_wait: RedisWaitOption = None


@Parameter(name="*")
@dataclass(frozen=True)
class ModeOptions(Options):
    """Two switches for one setting."""

    causal: CausalFlag = False
    lookahead: LookaheadFlag = False

    def given(self) -> dict[str, Any]:
        if self.causal and self.lookahead:
            raise UsageError("--causal and --lookahead exclude each other: give one of them")
        return {"mode": "causal" if self.causal else "lookahead" if self.lookahead else None}


CNN, ONE_CNN, GOALS, REDIS, MODE = CnnOptions(), OneCnnOptions(), GoalOptions(), RedisOptions(), ModeOptions()
"""Nothing given."""


def given(*groups: Options, **options: Any) -> dict[str, Any]:
    """The options that were given, those of groups and single ones."""
    merged = dict(item for group in groups for item in group.given().items()) | options
    return {key: value for key, value in merged.items() if value is not None}


def split(values: list[str] | None) -> list[str]:
    """Of an option that may be given several times, or once with commas."""
    return [part for value in values or [] for part in value.split(",") if part]
