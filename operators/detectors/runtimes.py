"""Where the net runs: torch on any device, OpenVINO on x86 CPUs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from everyframe.operators.detectors.nanodet import Maps, NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32


class Runtime(Protocol):
    """The net on one runtime in one precision.

    run: input (1, h, w, 3) float32 to the three output maps (rows, cols, 124) float32; they may be overwritten by
    the next call. features, head: the same in two steps; features are (1, channels, rows, cols) tensors that stay
    valid.
    """

    name: str
    precision: str

    def run(self, x: F32) -> list[F32]: ...

    def features(self, x: F32) -> Maps: ...

    def head(self, features: Maps) -> list[F32]: ...


class TorchRuntime:
    """Torch, channels_last. `threads` is the process's number: torch has one for all its users."""

    name = "torch"

    def __init__(self, net: NanoDet, precision: str, device: str, threads: int) -> None:
        self.precision = precision
        self.threads = threads
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = _device(device)
        self._net = net.to(self._device, self._dtype, memory_format=torch.channels_last)
        torch.set_num_threads(threads)

    @torch.inference_mode()
    def run(self, x: F32) -> list[F32]:
        return _to_numpy(self._net(self._input(x)))

    @torch.inference_mode()
    def features(self, x: F32) -> Maps:
        return self._net.features(self._input(x))

    @torch.inference_mode()
    def head(self, features: Maps) -> list[F32]:
        return _to_numpy(self._net.head(features))

    def _input(self, x: F32) -> Tensor:
        # The array is (1, h, w, 3): permuted it is already channels_last.
        return torch.from_numpy(x).permute(0, 3, 1, 2).to(self._device, self._dtype)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OperatorError(f'Unknown device "{name}": use cpu, cuda or cuda:N.') from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OperatorError(
            f'The device "{name}" is not there: torch sees {torch.cuda.device_count()} CUDA devices; use cpu or '
            "install a torch build with CUDA."
        )
    if device.type not in ("cpu", "cuda"):
        raise OperatorError(f'The device "{name}" is not supported: use cpu, cuda or cuda:N.')
    return device


def _to_numpy(maps: Maps) -> list[F32]:
    return [m[0].float().cpu().numpy() for m in maps]
