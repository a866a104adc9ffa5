"""The game for `gymnasium`: one stream, one frame a step. Training uses `vector.VectorKeyFrame`, which is the same game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.features import HIGHEST, LOWEST
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame

CAUSAL, LOOKAHEAD = "everyframe/KeyFrame-v0", "everyframe/KeyFrameLookahead-v0"
Action = NDArray[np.int64]


class KeyFrame(gymnasium.Env[F32, Action]):
    """One step is one frame of a recorded clip, in display order.

    Action, MultiDiscrete([2, 2]): the rung for this frame, 0 `propagate`, 1 `detect` (nothing where the frame was not
    decoded: its labels are held), and whether the frame after it is decoded, 0 no, 1 yes with all that it needs. The
    first frame is looked at whatever is asked, and so is one 300 frames after the last look.

    Observation, Box float32 (len(features.FEATURES),): every number with its range in `policies/features.py`. Those of
    `features.GATE_ONLY` are of the next packet: a camera has them when it asks for the second part of the action, not
    for the first.

    Reward: - cost - price * (false positives + misses) / normaliser. Cost in dense frames: demuxing of this frame, the CNN
    where it looked, decoding of the next one with what catching up takes. The normaliser is twice the mean number of
    objects that the dense detector reports in a frame of the clip: over an episode the errors add up to frames * (1 -
    pooled F1), exactly where as many objects are reported as there are. Looking ahead, the errors of the frames between
    two looks come with the second look.

    Episode: `draw.frames` frames (whole clips if None) from a random place of a random clip, price of error and cost of
    decoding drawn anew; it is terminated at its end, never truncated. info: cost, right, shown, truth (counts of the
    frames that were settled, from which pooled F1 is 2 * right / (shown + truth)), clip.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as gymnasium declares it

    def __init__(
        self, tables: Sequence[ClipTable], lookahead: bool = False, draw: Draw | None = None, seed: int = 0
    ) -> None:
        self._streams = VectorKeyFrame(tables, 1, lookahead, draw, seed)
        self.observation_space = spaces.Box(LOWEST, HIGHEST, dtype=np.float32)
        self.action_space = cast(Any, spaces.MultiDiscrete([2, 2]))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        """options: clip (index), price, decode: in place of what is drawn."""
        super().reset(seed=seed)
        wanted = options or {}
        clip = wanted.get("clip")
        observation = self._streams.reset(
            seed, None if clip is None else [int(clip)], wanted.get("price"), wanted.get("decode")
        )
        return observation[0], {}

    def step(self, action: Action) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        look, decode_next = (np.array([bool(value)]) for value in action)
        step = self._streams.step(look, decode_next)
        info = {
            "cost": float(step.cost[0]), "right": float(step.right[0]), "shown": float(step.shown[0]),
            "truth": float(step.truth[0]), "clip": int(step.clip[0]),
        }  # fmt: skip
        return step.observation[0], float(step.reward[0]), bool(step.over[0]), False, info


def register() -> None:
    """Makes both environments known to `gymnasium.make`; importing this module does."""
    for name, lookahead in ((CAUSAL, False), (LOOKAHEAD, True)):
        if name not in gymnasium.registry:
            gymnasium.register(
                name, entry_point="everyframe.policies.simulation.envs:KeyFrame", kwargs={"lookahead": lookahead}
            )


register()
