"""Convolutions of a torch net with their weights in the CPU's own order.

oneDNN wants weights in blocks that fit the CPU's registers, and torch brings them into that order at every call. Here they
are brought once, and the leaky ReLU after a convolution is computed while its result is still in the registers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


class PackedConv(nn.Module):
    """A convolution, with the leaky ReLU of this slope after it where one is given."""

    def __init__(self, conv: nn.Conv2d, slope: float | None, size: list[int]) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._after = ("none", []) if slope is None else ("leaky_relu", [slope])
        self._bias = conv.bias
        self._weight = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]  # the stub is behind
            conv.weight.detach().to_mkldnn(), *self._geometry, size
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, *self._after, ""
        )
        return out


class Packer:
    """Packs modules that share convolutions; each of those is packed once."""

    def __init__(self) -> None:
        self._packed: dict[nn.Conv2d, PackedConv] = {}

    @torch.inference_mode()
    def pack(self, module: nn.Module, *inputs: Tensor) -> nn.Module:
        """The same computation with packed convolutions, for inputs of any size.

        module: what `torch.fx` can trace. inputs: examples; they say what sizes the order of the weights is chosen for.
        Returns `module` itself where torch, its oneDNN or the CPU can't do it.
        """
        try:
            traced = fx.symbolic_trace(module)
            sizes = _Sizes(traced)
            sizes.run(*inputs)
            for node in list(traced.graph.nodes):
                if node.op == "call_module" and isinstance(traced.get_submodule(node.target), nn.Conv2d):
                    self._replace(traced, node, sizes.of[node.target])
            traced.recompile()
            traced(*inputs)
        except (fx.proxy.TraceError, RuntimeError, AttributeError, NotImplementedError, TypeError):
            return module
        return traced

    def _replace(self, traced: fx.GraphModule, node: fx.Node, size: list[int]) -> None:
        conv = traced.get_submodule(str(node.target))
        assert isinstance(conv, nn.Conv2d)
        after = next(iter(node.users))
        fuses = len(node.users) == 1 and after.target is F.leaky_relu
        if conv not in self._packed:
            slope = after.kwargs["negative_slope"] if fuses else None
            assert slope is None or isinstance(slope, float)
            self._packed[conv] = PackedConv(conv, slope, size)
        traced.set_submodule(str(node.target), self._packed[conv])
        if fuses:
            after.replace_all_uses_with(node)
            traced.graph.erase_node(after)


class _Sizes(fx.Interpreter):
    """Runs a traced module and notes the size of what goes into each of its modules."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.of: dict[str, list[int]] = {}

    def call_module(self, target: fx.node.Target, args: tuple[fx.node.Argument, ...], kwargs: dict[str, object]) -> object:
        x = args[0]
        assert isinstance(x, Tensor)
        self.of[str(target)] = list(x.shape)
        return super().call_module(target, args, kwargs)
