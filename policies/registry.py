"""The table of policies and the one way to make one from its name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from everyframe.policies.base import Mode, Policy
from everyframe.policies.brain import BrainError
from everyframe.policies.fixed import Dense, IFrames, Random, Stride
from everyframe.policies.flow import Flow
from everyframe.policies.lattice import Lattice
from everyframe.policies.learned import Learned, brains_of
from everyframe.policies.motion import Motion
from everyframe.policies.region import Region
from everyframe.policies.residual import Residual


class PolicyError(ValueError):
    """The name or its number is wrong; the text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """form: how a user writes it. make: from the text after the colon, "" where there is none, and the mode."""

    form: str
    help: str
    make: Callable[[str, Mode], Policy]


def _every(policy: type[Stride], example: int) -> Callable[[str, Mode], Policy]:
    def build(text: str, mode: Mode) -> Policy:
        if not text.isdecimal() or int(text) < 1:
            raise PolicyError(
                f"policy {policy.kind}:{text} needs a whole number of at least 1, as in {policy.kind}:{example}."
            )
        return policy(int(text))

    return build


def _region(text: str, mode: Mode) -> Policy:
    if text and (not text.isdecimal() or int(text) < 1):
        raise PolicyError(f"policy region:{text} needs a whole number of at least 1, as in region:10, or none.")
    return Region(int(text) if text else None)


def _random(text: str, mode: Mode) -> Policy:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise PolicyError(f"policy random:{text} needs a share above 0 and up to 1, as in random:0.1.")
    return Random(share)


def _learned(text: str, mode: Mode) -> Policy:
    number, colon, file = text.partition(":")
    if not colon and number.endswith(".safetensors"):
        number, file = "", number
    try:
        price = float(number) if number else None
    except ValueError:
        price = -1.0
    if price is not None and not 0 < price < 1e6:
        raise PolicyError(
            f"policy learned:{text} needs the price of error in frames of the CNN, above 0, as in learned:0.5, or weights of "
            "your own, as in learned:mine.safetensors or learned:0.5:mine.safetensors."
        )
    if not file:
        return Learned(price, mode)
    try:
        brains_of(Path(file))
    except BrainError as e:
        raise PolicyError(f"policy learned:{text}: {e}.") from e
    return Learned(price, mode, Path(file))


def _plain(make: Callable[[], Policy]) -> Callable[[str, Mode], Policy]:
    def build(text: str, mode: Mode) -> Policy:
        policy = make()
        if text:
            raise PolicyError(f"policy {policy.name} takes no number: write {policy.name} instead of {policy.name}:{text}.")
        return policy

    return build


def _motion(text: str, mode: Mode) -> Policy:
    return _plain(lambda: Motion(mode))(text, mode)


POLICIES: dict[str, Entry] = {
    "motion": Entry("motion", "learns what is normal; the CNN looks when something new moves", _motion),
    "learned": Entry("learned", "two small networks look where a look buys most accuracy; learned:PRICE, learned:WEIGHTS", _learned),
    "stride": Entry("stride:N", "the CNN on every N-th frame, motion vectors between", _every(Stride, 10)),
    "flow": Entry("flow:N", "the CNN on every N-th frame, between them its features are renewed in part", _every(Flow, 10)),
    "region": Entry("region:N", "looks at parts of the picture that are worth it, at the whole every N frames", _region),
    "residual": Entry("residual", "the CNN on every frame, computed only where the picture changed", _plain(Residual)),
    "lattice": Entry("lattice:N", "every N-th frame; files: parts of frames between, where both sides disagree", _every(Lattice, 20)),
    "iframes": Entry("iframes", "decodes key frames only", _plain(IFrames)),
    "random": Entry("random:P", "the CNN on a random share P of the frames", _random),
    "dense": Entry("dense", "the CNN on every frame", _plain(Dense)),
}


def make_policy(spec: str, mode: Mode = "lookahead") -> Policy:
    """The policy that `spec` names, as "stride:10". mode: whether labels may wait for the next look, or use the past only.
    Raises PolicyError with the nearest name where there is none."""
    name, _, text = spec.partition(":")
    entry = POLICIES.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {POLICIES[near[0]].form}?" if near else ""
        known = ", ".join(e.form for e in POLICIES.values())
        raise PolicyError(f"there is no policy {spec!r}; {hint or f'choose one of {known}.'}")
    return entry.make(text, mode)
