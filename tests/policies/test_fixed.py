"""The baselines: where they look, what they leave undecoded."""

from __future__ import annotations

import numpy as np

from everyframe.policies.base import Observation, PacketFacts
from everyframe.policies.fixed import Dense, IFrames, Random, Stride


def packet(index: int, is_key: bool) -> PacketFacts:
    return PacketFacts(index, 500, is_key, "I" if is_key else "P", True, index / 25)


def looks(policy, frames: int, key_every: int = 12, seed: int = 0) -> list[int]:
    """The frames at which `policy` looks; a frame whose packet the gate drops is not shown to it."""
    policy.reset(seed)
    since, found = 1 << 30, []
    for index in range(frames):
        facts = packet(index, index % key_every == 0)
        if policy.gate(facts):
            observation = Observation(
                facts, index, since, np.zeros((4, 4, 2), np.float32), np.ones((4, 4), np.bool_), 8,
                np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32),
                np.zeros(0, np.int32), float("nan"),
            )  # fmt: skip
            if policy.choose(observation).rung == "detect":
                found.append(index)
                since = 0
        since += 1
    return found


def test_dense_looks_at_every_frame():
    assert looks(Dense(), 30) == list(range(30))


def test_stride_looks_at_every_nth_frame_from_the_first():
    assert looks(Stride(7), 30) == [0, 7, 14, 21, 28]
    assert looks(Stride(1), 5) == list(range(5))


def test_iframes_looks_at_key_packets_and_decodes_nothing_else():
    policy = IFrames()
    assert looks(policy, 30) == [0, 12, 24]
    assert not policy.gate(packet(5, False)) and policy.traits.keys_only


def test_random_looks_at_its_share_of_the_frames_as_the_seed_says():
    policy = Random(0.3)
    first = looks(policy, 2000, seed=1)
    assert 500 < len(first) < 700
    assert looks(policy, 2000, seed=1) == first != looks(policy, 2000, seed=2)
    assert looks(Random(1.0), 10) == list(range(10))
