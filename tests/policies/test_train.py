"""Training: the graph is the game, advantages are exact, it gets better, and checkpoints go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tracing import drawn_table

from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import FEATURES
from everyframe.policies.simulation.arena import arena_of
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame
from everyframe.policies.train import Settings, Trainer
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Judge, play
from everyframe.policies.training.net import Net, logits_of

torch.set_num_threads(1)
TABLE = drawn_table(60, 20, seed=3)
SHORT = Settings(steps=6, estimation=1, imitation=2, stretches=2, frames=(20, 40), judge_every=3, width=8)


def window(price: float = 1.0, decode: float | None = None, start: int = 0, end: int = 60) -> g.Window:
    return g.window_of(g.Graph.of(TABLE, False), start, end, price, decode, np.random.default_rng(0))


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


def bare(outcome: np.ndarray, beyond: np.ndarray) -> g.Window:
    w = len(outcome)
    return replace(window(), end=w, outcome=outcome.astype(np.float32), beyond=beyond, memory=np.zeros((w, 4), np.float32))


def test_values_and_advantages_of_a_stream_that_stays_awake() -> None:
    rng = np.random.default_rng(1)
    made = bare(rng.random((4, 3, 1)), np.array([0.0, 0.3, 0.5, 0.9]))
    p = rng.random((4, 3)).astype(np.float32)
    found = g.advantages(
        g.Chances(p, np.zeros((4, 0), np.float32), np.zeros((4, 0), np.int64), np.zeros((0, 3), np.float32)), made
    )

    def node(k: int) -> float:
        return float(made.beyond[k - 4]) if k >= 4 else arrive(k, 1)

    def look(k: int, d: int) -> float:
        return float(made.outcome[k, d - 1, 0]) + node(k + d)

    def arrive(k: int, d: int) -> float:
        return look(k, d) if d == 3 else float(p[k, d - 1]) * look(k, d) + (1 - float(p[k, d - 1])) * arrive(k, d + 1)

    np.testing.assert_allclose(found.value, [node(k) for k in range(4)], rtol=1e-5)
    ours = [[look(k, d) - arrive(k, d + 1) for d in (1, 2)] for k in range(4)]
    np.testing.assert_allclose(found.look[:, :2], ours, atol=1e-5)
    assert (found.look[:, 2] == 0).all()


def test_advantages_of_sleep_and_of_waking() -> None:
    assert SLEEPS[0] == 1
    outcome = np.zeros((1, 5, 2))
    outcome[0, :, 1] = [5, 5, 5, 5, 2.0]  # awake: the last frame is the best
    outcome[0, 2:, 0] = [1.0, 0.5, 3.0]  # asleep from 1 on: looks at 3, 4 or 5
    made = bare(outcome, np.zeros(6))
    look = np.full((1, 5), 0.0, np.float32)
    wake = np.array([[0, 0, 0.5, 0.25, 0]], np.float32)
    chances = g.Chances(look, np.array([[0.5]], np.float32), np.array([[0]]), wake)
    found = g.advantages(chances, made)
    at_four = 0.25 * 0.5 + 0.75 * 3.0
    at_three = 0.5 * 1.0 + 0.5 * at_four
    np.testing.assert_allclose(found.wake[0, 2:4], [1.0 - at_four, 0.5 - 3.0], rtol=1e-6)
    assert found.sleep[0, 0] == pytest.approx(at_three - 2.0)
    assert found.value[0] == pytest.approx(0.5 * at_three + 0.5 * 2.0)
    assert found.look[0, 0] == pytest.approx(5.0 - found.value[0])


def test_all_places_of_a_window_have_a_logit() -> None:
    torch.manual_seed(0)
    net = Net(np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32), 8).eval()
    made = window()
    logits = logits_of(net, made, np.random.default_rng(0))
    chances = logits.chances(made)
    assert chances.look.shape[0] == 60 and chances.look.min() > 0 and chances.look.max() < 1
    rows = chances.which >= 0
    assert rows.sum() == len(logits.at) and (chances.sleep[~rows] == 0).all()
    for row, (k, m) in enumerate(logits.at):
        used = logits.wake[row] != 0
        assert not used[: SLEEPS[m] + 1].any() and not used[60 - k - 1 :].any()
    assert len(logits_of(net, made, np.random.default_rng(0), sleeps=False).at) == 0


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
    settings = Settings(lookahead, steps=60, estimation=0, stretches=2, frames=(40, 60), judge_every=60, width=16, rate=0.02, tuning=1.0)
    trainer = Trainer(tables, None, settings)
    with torch.no_grad():
        trainer.net.look_net[-1].bias.fill_(1.0)  # a look at every frame
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


def test_the_judge_plays_doubts_of_any_make() -> None:
    judge = Judge([TABLE], False)
    always = play(lambda env, seen: np.full(len(seen), 3.0, np.float32), judge.arena, False, (1.0,))[0][0]
    never = play(lambda env, seen: np.full(len(seen), -60.0, np.float32), judge.arena, False, (1.0,))[0][0]
    assert always.looks == len(TABLE) and always.f1 == pytest.approx(judge.strides[0][0].f1)
    assert always.cost == pytest.approx(judge.strides[0][0].cost, rel=1e-6)
    assert never.looks == 1 and never.decoded == 1.0  # the first frame; the game adds the rest
