"""Which channels of a net matter: one number for each output channel of each convolution, larger for what must stay.

- magnitude: the norm of all weights of a group (Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017; Fang et al., DepGraph,
  CVPR 2023), as torch-pruning has it. Needs no pictures.
- scale: Liu et al. (Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017) take the gain of the batch
  normalisation that follows. This net has none: its gains are folded into the weights. A normalised channel times a gain has
  that gain as its standard deviation, so the standard deviation of each channel on pictures, before the activation, is what the gain was
  (up to how far these pictures are from those of training). Deviation: no training that draws gains to 0 came before.
- taylor: Molchanov et al. (Importance Estimation for Neural Network Pruning, CVPR 2019): what the loss changes by, to first order,
  when a filter is set to 0: the sum of gradient x weight over the filter and its bias, squared, mean over pictures. The loss is
  that by which `teach` learns, against the objects that the net itself finds. Deviation: not against its maps as
  `distil` has them, for there a net that is its own teacher is at the minimum and every gradient is 0; and channels are
  compared within their layer (`prune` takes the same share of each), for over all layers at once this net lost more at equal size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from everyframe.operators.compress.alignment import loss_of
from everyframe.operators.compress.distil import flat
from everyframe.operators.detectors.decode import IOU, candidates, suppress
from everyframe.operators.detectors.nanodet import CLASSES, NanoDet, convolutions
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, Objects

Importance = Literal["magnitude", "scale", "taylor"]
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)
PICTURES = 32
"""That are looked at; more change little."""
SEEN = 0.3
"""Score from which the net's own objects are what it is to keep on saying."""

Scores = dict[str, Tensor]
"""By convolution, float64 (outputs,)."""
Scorer = Callable[[Any], Tensor]
"""Importance of the channels of one of torch-pruning's groups."""


def scorer(net: NanoDet, kind: Importance, inputs: Sequence[F32]) -> Scorer:
    """net: the very one that is to be pruned. inputs: prepared pictures (1, h, w, 3) float32, of which `PICTURES` are taken; not
    needed by magnitude. Raises `OperatorError`."""
    import torch_pruning as tp

    if kind not in IMPORTANCES:
        raise OperatorError(f'Unknown importance "{kind}": use {", ".join(IMPORTANCES)}.')
    if kind == "magnitude":
        by_norm: Scorer = tp.importance.GroupMagnitudeImportance(p=2)
        return by_norm
    if not inputs:
        raise OperatorError(f"Importance by {kind} is found on pictures: give some, or take magnitude.")
    scores = (spreads if kind == "scale" else contributions)(net, inputs)
    by_module = {conv: scores[name] for name, conv in convolutions(net)}
    return lambda group: _of_group(group, by_module)


def _of_group(group: Any, scores: dict[nn.Conv2d, Tensor]) -> Tensor:
    """A group's channels are fed by several convolutions where maps are added: theirs add up."""
    found = torch.zeros(len(group[0].idxs), dtype=torch.float64)
    for i, (dependency, idxs) in enumerate(group):
        conv = dependency.target.module
        if isinstance(conv, nn.Conv2d) and dependency.handler.__name__ == "prune_out_channels":
            found.index_add_(0, torch.as_tensor(group[i].root_idxs), scores[conv][torch.as_tensor(idxs)])
    return found


def spreads(net: NanoDet, inputs: Sequence[F32]) -> Scores:
    """Standard deviation of each output channel before its activation, over all pixels of the pictures."""
    sums: dict[str, tuple[float, Tensor, Tensor]] = {}

    def add(name: str, out: Tensor) -> None:
        out = out.double()
        count, total, squares = sums.get(name, (0.0, torch.zeros(1), torch.zeros(1)))
        pixels = out.shape[0] * out.shape[2] * out.shape[3]
        sums[name] = (count + pixels, total + out.sum((0, 2, 3)), squares + out.pow(2).sum((0, 2, 3)))

    hooks = [
        conv.register_forward_hook(lambda _, __, out, name=name: add(name, out)) for name, conv in convolutions(net)
    ]
    with torch.inference_mode():
        for one in _evenly(inputs):
            net(torch.from_numpy(one).permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    return {
        name: (squares / count - (total / count).pow(2)).clamp(min=0).sqrt().clone()
        for name, (count, total, squares) in sums.items()
    }


def contributions(net: NanoDet, inputs: Sequence[F32]) -> Scores:
    """Squared change of the loss when each output channel goes, to first order, mean over pictures. Raises `OperatorError` where the
    net finds nothing in any."""
    found = products(net, inputs, lambda weight, bias: weight.sum((1, 2, 3)) + bias)
    return {name: changes.square().mean(0) for name, changes in found.items()}


def products(net: NanoDet, inputs: Sequence[F32], summed: Callable[[Tensor, Tensor], Tensor]) -> Scores:
    """Gradient times value of each convolution's weight (outputs, inputs, k, k) and bias (outputs,), as `summed` makes (n,) of them:
    for each picture that shows something, (pictures, n) float64. Raises `OperatorError` where none does."""
    if not inputs:
        raise OperatorError("Importance by taylor is found on pictures: give some, or take magnitude.")
    learner: NanoDet = copy.deepcopy(net).requires_grad_(True)
    found: dict[str, list[Tensor]] = {name: [] for name, _ in convolutions(learner)}
    for one in _evenly(inputs):
        maps = learner(torch.from_numpy(one).permute(0, 3, 1, 2))
        objects = _own_objects(maps)
        if not len(objects):
            continue
        learner.zero_grad(set_to_none=False)
        loss = loss_of(flat(maps), [objects], [(m.shape[1], m.shape[2]) for m in maps], tuple(range(CLASSES)))
        loss.backward()  # type: ignore[no-untyped-call]
        for name, conv in convolutions(learner):
            assert conv.bias is not None
            found[name].append(summed(_product(conv.weight), _product(conv.bias)))
    if not next(iter(found.values())):
        raise OperatorError("The net finds nothing in these pictures, so that no channel matters: give some that show objects.")
    return {name: torch.stack(changes) for name, changes in found.items()}


def _product(value: Tensor) -> Tensor:
    """Gradient times value, float64; 0 where no gradient came."""
    return torch.zeros_like(value, dtype=torch.float64) if value.grad is None else (value.detach() * value.grad).double()


def _evenly(inputs: Sequence[F32]) -> Sequence[F32]:
    return inputs[:: max(1, len(inputs) // PICTURES)][:PICTURES]


def _own_objects(maps: Sequence[Tensor]) -> Objects:
    """What the net says of the picture, in pixels of its input."""
    score, class_id, xyxy = candidates([m[0].detach().numpy() for m in maps], SEEN)
    order = np.argsort(-score, kind="stable")
    score, class_id, xyxy = score[order], class_id[order], xyxy[order]
    keep = suppress(xyxy, score, class_id, IOU)
    return Objects.of(xyxy[keep], score[keep], class_id[keep])
