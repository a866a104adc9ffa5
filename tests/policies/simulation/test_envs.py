"""The environments keep gymnasium's contract, and are one game in both forms."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from tracing import drawn_table

from everyframe.policies.features import FEATURES, HIGHEST, LOWEST
from everyframe.policies.simulation.arena import arena_of
from everyframe.policies.simulation.envs import CAUSAL, LOOKAHEAD, KeyFrame
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame


@pytest.mark.parametrize("name", [CAUSAL, LOOKAHEAD])
def test_check_env(name: str) -> None:
    env = gymnasium.make(name, tables=[drawn_table(), drawn_table(30, seed=1)])
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("lookahead", [False, True])
def test_episode_settles_every_frame_once(lookahead: bool) -> None:
    table = drawn_table(40, 10)
    env = KeyFrame([table], lookahead, Draw(decode=None))
    for seed in range(4):
        env.reset(seed=seed, options={"clip": 0, "price": 1.0})
        rng = np.random.default_rng(seed)
        truth = cost = reward = error = 0.0
        for t in range(len(table)):
            action = np.array([rng.random() < 0.3, rng.random() < 0.7], np.int64)
            _, gain, over, cut, info = env.step(action)
            truth, cost, reward = truth + info["truth"], cost + info["cost"], reward + gain
            error += info["shown"] + info["truth"] - 2 * info["right"]
            assert over == (t == len(table) - 1) and not cut
        assert truth == table.truth.sum()
        assert reward == pytest.approx(-cost - error / table.normaliser)


@pytest.mark.parametrize("lookahead", [False, True])
def test_streams_don_t_touch_each_other(lookahead: bool) -> None:
    tables = [drawn_table(24, seed=2), drawn_table(31, seed=3)]
    both = VectorKeyFrame(tables, 2, lookahead, Draw(decode=None))
    both.reset(clips=[0, 1], price=0.5)
    alone = [VectorKeyFrame(tables, 1, lookahead, Draw(decode=None)) for _ in tables]
    for i, env in enumerate(alone):
        env.reset(clips=[i], price=0.5)
    rng = np.random.default_rng(0)
    for _ in range(23):
        look, decode = rng.random(2) < 0.3, rng.random(2) < 0.6
        step = both.step(look, decode)
        for i, env in enumerate(alone):
            own = env.step(look[i : i + 1], decode[i : i + 1])
            assert own.reward[0] == step.reward[i]
            np.testing.assert_array_equal(own.observation[0], step.observation[i])


def test_observations_stay_in_their_ranges_and_equal_seeds_give_equal_episodes() -> None:
    tables = [drawn_table(50, seed=s) for s in range(3)]
    runs = []
    for _ in range(2):
        env = VectorKeyFrame(tables, 16, draw=Draw(frames=20), seed=5)
        seen = [env.reset()]
        rng = np.random.default_rng(1)
        for _ in range(60):
            seen.append(env.step(rng.random(16) < 0.2, rng.random(16) < 0.8).observation)
        runs.append(np.stack(seen))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert runs[0].shape == (61, 16, len(FEATURES))
    assert (runs[0] >= LOWEST).all() and (runs[0] <= HIGHEST).all()


def test_catching_up_and_giving_up_a_group() -> None:
    table = drawn_table(24, 20, group=8)
    decode, carry, dense = table.costs.decode, table.costs.carry, table.costs.dense
    yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)

    def cost_of_waking_at(t: int) -> float:
        env = VectorKeyFrame([table], 1, draw=Draw(decode=None))
        env.reset(clips=[0], price=1.0)
        env.step(yes, no)
        for _ in range(1, t - 1):
            env.step(no, no)
        return float(env.step(no, yes).cost[0]) - table.costs.frame / dense

    assert cost_of_waking_at(5) == pytest.approx((decode[1:6].sum() + 5 * carry) / dense)
    assert cost_of_waking_at(11) == pytest.approx((decode[8:12].sum() + 4 * carry) / dense)


def test_cost_ratio_is_drawn() -> None:
    env = VectorKeyFrame([drawn_table()], 8, draw=Draw(decode=(0.25, 0.25)))
    observation = env.reset()
    decode = np.exp(observation[0, FEATURES.index("cost_decode")])
    look = np.exp(observation[0, FEATURES.index("cost_look")])
    assert 0.2 < decode / look < 0.35


def test_wrong_tables_are_told() -> None:
    with pytest.raises(ValueError, match="one horizon"):
        arena_of([drawn_table(horizon=12), drawn_table(horizon=10)])
    with pytest.raises(ValueError, match="at least one clip"):
        arena_of([])
