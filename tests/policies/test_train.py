"""Training: the graph is the game, the gradient is that of the expected return, and it gets better; checkpoints go on."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from tracing import drawn_table

from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import FEATURES
from everyframe.policies.simulation.arena import arena_of
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame
from everyframe.policies.train import LEAST, Settings, Trainer
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Judge, play
from everyframe.policies.training.net import Net, chances

torch.set_num_threads(1)
TABLE = drawn_table(60, 20, seed=3)
SHORT = Settings(steps=6, imitation=2, stretches=2, frames=(20, 40), judge_every=3, width=8)


def window(price: float = 1.0, decode: float | None = None, start: int = 0, end: int = 60) -> g.Window:
    return g.window_of(g.Graph.of(TABLE, False), start, end, price, decode, np.random.default_rng(0))


def small_net() -> Net:
    torch.manual_seed(0)
    return Net(np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32), 8).eval()


@pytest.mark.parametrize("decode", [None, 0.25])
def test_an_awake_way_through_the_graph_costs_what_the_game_says(decode: float | None) -> None:
    made = window(0.7, decode)
    looks = [0, 3, 4, 11, 25, 40]
    total = sum(made.outcome[k, to - k - 1, -1] for k, to in zip(looks, [*looks[1:], 60], strict=True))
    env = VectorKeyFrame([TABLE], 1, False, Draw(decode=None))
    env.reset(clips=[0], price=0.7, decode=decode)
    yes = np.ones(1, np.bool_)
    rewards = [float(env.step(np.array([t in looks]), yes).reward[0]) for t in range(60)]
    first = env.arena.clips
    costs = TABLE.costs if decode is None else TABLE.costs.with_ratio(decode)
    at_first = (costs.frame + float(costs.decode[0]) + costs.carry + costs.look) / costs.dense
    missed = first.shown[0, 0] + TABLE.truth[0] - 2 * first.right[0, 0]
    assert -sum(rewards) == pytest.approx(total + at_first + 0.7 * missed / TABLE.normaliser, rel=1e-4)


def test_chances_of_the_edges_of_every_node_add_up_to_one() -> None:
    made = window()
    p = chances(small_net(), made, np.random.default_rng(0)).detach().numpy()
    np.testing.assert_allclose(p.sum((1, 2)), 1, atol=1e-3)
    assert (p[~np.isfinite(made.outcome)] == 0).all()
    for m, a in enumerate(SLEEPS[: p.shape[2] - 1]):
        assert (p[:, : a + 1, m] == 0).all()  # no look where nothing was decoded


def test_the_value_is_the_mean_over_all_ways_through() -> None:
    rng = np.random.default_rng(1)
    p = rng.random((4, 3, 1))
    p /= p.sum((1, 2), keepdims=True)
    outcome = rng.random((4, 3, 1))
    beyond = np.array([0.0, 0.3, 0.5, 0.9])

    def walk(k: int) -> float:
        if k >= 4:
            return float(beyond[k - 4])
        return sum(p[k, d, 0] * (outcome[k, d, 0] + walk(k + d + 1)) for d in range(3))

    value, visits = g.evaluate(p, outcome, beyond)
    assert value[0] == pytest.approx(walk(0))
    ways = [w for n in range(4) for w in product((1, 2, 3), repeat=n) if sum(w) < 4]
    for k in range(4):
        reach = sum(np.prod([p[sum(w[:i]), d - 1, 0] for i, d in enumerate(w)]) for w in ways if sum(w) == k)
        assert visits[k] == pytest.approx(reach)


def test_the_surrogates_gradient_is_that_of_the_expected_return() -> None:
    trainer = Trainer([TABLE], None, replace(SHORT, noise=0.0, sleeps=False))
    trainer.net.eval()
    made = window(end=30)
    outcome = np.where(np.isfinite(made.outcome), made.outcome, np.float32(0))

    def value() -> float:
        p = chances(trainer.net, made, np.random.default_rng(5), sleeps=False).detach().numpy().astype(np.float64)
        return float(g.evaluate(p, outcome, made.beyond)[0][0])

    bias = trainer.net.look_net[-1].bias
    step = 1e-2
    with torch.no_grad():
        bias += step
        above = value()
        bias -= 2 * step
        below = value()
        bias += step
    loss, _ = trainer._reinforce(made)
    loss.backward()
    unit = max(value(), made.optimum) + LEAST * 30
    assert float(bias.grad) * unit == pytest.approx((above - below) / (2 * step), rel=0.05, abs=1e-3)


def test_the_graph_sees_what_the_game_shows() -> None:
    made = replace(window(1.0), memory=np.tile(np.array([[0.4, 0.6, 0.2, 0.9]], np.float32), (60, 1)))
    env = VectorKeyFrame([TABLE], 1, False, Draw(decode=None))
    observation = env.reset(clips=[0], price=1.0)
    yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)
    for t in range(12):
        if t > 5:
            shown = observation[0]
            ours = g.asleep(made, np.array([5]), np.array([min(t - 5, 3)]), np.array([t - 5]))[0]
            same = np.ones(len(FEATURES), np.bool_)
            same[3:7] = False
            np.testing.assert_allclose(ours[same], shown[same], atol=2e-3, err_msg=str(t))
        observation = env.step(yes if t in (0, 5) else no, yes if t < 8 else no).observation


@pytest.mark.parametrize("lookahead", [False, True])
def test_it_learns(lookahead: bool) -> None:
    tables = [drawn_table(80, 20, seed=s) for s in range(3)]
    settings = Settings(lookahead, steps=60, imitation=0, stretches=2, frames=(40, 60), judge_every=60, width=16, rate=0.02)
    trainer = Trainer(tables, None, settings)
    with torch.no_grad():
        trainer.net.look_net[-1].bias.fill_(3.0)  # a look at nearly every frame
    graph = g.Graph.of(tables[0], lookahead)
    made = [g.window_of(graph, 0, 80, price, None, np.random.default_rng(0)) for price in (0.1, 1.0, 5.0)]

    def excess() -> float:
        with torch.no_grad():
            return float(np.mean([trainer._reinforce(w)[1] for w in made]))

    before = excess()
    for _ in range(60):
        trainer.step()
    assert excess() < before - 0.1
    points = play(trainer.best(), arena_of(tables, lookahead), lookahead, (0.01, 10.0))
    assert np.mean([clip[1].f1 - clip[0].f1 for clip in points]) > 0.05


def test_a_training_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    tables = [drawn_table(60, 20, seed=s) for s in range(2)]
    judge = Judge([drawn_table(60, 20, seed=9)], False)
    path = tmp_path / "a.ckpt"
    whole = Trainer(tables, judge, SHORT)
    whole.run()
    first = Trainer(tables, judge, replace(SHORT))
    for _ in range(3):
        first.step()
    first.state.history.append(first._judge())
    first.save(path)
    second = Trainer(tables, judge, SHORT)
    assert second.resume(path) and second.state.step == 3
    second.run()
    for ours, theirs in zip(second.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert second.state.best_score == whole.state.best_score
    assert not Trainer(tables, judge, SHORT).resume(tmp_path / "none")
    with pytest.raises(ValueError, match="other settings"):
        Trainer(tables, judge, replace(SHORT, seed=1)).resume(path)
