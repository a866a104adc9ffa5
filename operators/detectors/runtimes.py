"""Where the net runs: torch on any device, OpenVINO on x86 CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from everyframe.operators.detectors.nanodet import Maps, NanoDet
from everyframe.operators.detectors.packed import Packer
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32

SIZES = 16
"""Input sizes that stay compiled in OpenVINO: a whole picture, the crops of `region`, and some for streams that change
their picture size."""


EXAMPLE = (192, 320)
"""Height and width of the picture for which torch chooses the order of its weights; it serves all sizes."""


class Runtime(Protocol):
    """The net on one runtime in one precision.

    run: input (1, h, w, 3) float32 to the three output maps (rows, cols, 124) float32; they may be overwritten by
    the next call. run_many: the same of (n, h, w, 3), one list for each picture. features, head: the same in two
    steps; features are (1, channels, rows, cols) tensors that stay valid.
    """

    name: str
    precision: str

    def run(self, x: F32) -> list[F32]: ...

    def run_many(self, x: F32) -> Iterator[list[F32]]: ...

    def features(self, x: F32) -> Maps: ...

    def head(self, features: Maps) -> list[F32]: ...


def make_runtime(net: NanoDet, runtime: str, precision: str, device: str, threads: int) -> Runtime:
    """The net on a runtime: torch or openvino. Raises `OperatorError` where it is not to be had."""
    if precision == "int8" and (runtime != "openvino" or net.quantized is None or not net.quantized.ranges):
        raise OperatorError('The precision "int8" is for the runtime openvino and a quantized model: use --model fast, or leave --precision out.')
    if runtime == "openvino":
        if device != "cpu":
            raise OperatorError(
                f'OpenVINO runs on the CPU here, not on "{device}": use the torch runtime there.'
            )
        return OpenVinoRuntime(net, precision, threads)
    return TorchRuntime(net, precision, device, threads)


def available(device: str = "cpu") -> list[str]:
    """Names of the runtimes that can be used on a device, the reference first."""
    return ["torch", "openvino"] if device == "cpu" and find_spec("openvino") is not None else ["torch"]


class Whole(nn.Module):
    def __init__(self, net: NanoDet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Maps:
        maps: Maps = self.net(x.permute(0, 3, 1, 2))
        return maps


class _Features(Whole):
    def forward(self, x: Tensor) -> Maps:
        return self.net.features(x.permute(0, 3, 1, 2))


class _Head(Whole):
    def forward(self, p8: Tensor, p16: Tensor, p32: Tensor) -> Maps:  # type: ignore[override]
        return self.net.head((p8, p16, p32))


class TorchRuntime:
    """Torch, channels_last. `threads` is the process's number: torch has one for all its users."""

    name = "torch"

    def __init__(self, net: NanoDet, precision: str, device: str, threads: int) -> None:
        self.precision = precision
        self._threads = threads
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = _device(device)
        net.to(self._device, self._dtype)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        self._whole, self._features, self._head = _parts(net, self._device, self._dtype)

    @torch.inference_mode()
    def run(self, x: F32) -> list[F32]:
        return _to_numpy(self._whole(self._input(x)))

    @torch.inference_mode()
    def run_many(self, x: F32) -> Iterator[list[F32]]:
        """In one batch: the start of a run and the reading of the weights are paid once."""
        whole = [m.float().cpu().numpy() for m in self._whole(self._input(x))]
        return iter([[m[i] for m in whole] for i in range(len(x))])

    @torch.inference_mode()
    def features(self, x: F32) -> Maps:
        f8, f16, f32 = self._features(self._input(x))
        return f8, f16, f32

    @torch.inference_mode()
    def head(self, features: Maps) -> list[F32]:
        self._set_threads()
        return _to_numpy(self._head(*features))

    def _input(self, x: F32) -> Tensor:
        self._set_threads()
        return torch.from_numpy(x).to(self._device, self._dtype)

    def _set_threads(self) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)


def _parts(net: NanoDet, device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The whole net, its features and its heads; packed on a CPU, where they share the packed weights."""
    whole, features, head = Whole(net), _Features(net), _Head(net)
    if device.type != "cpu":
        return whole, features, head
    packer, picture = Packer(), torch.zeros(1, *EXAMPLE, 3, dtype=dtype)
    with torch.inference_mode():
        maps = features(picture)
    return packer.pack(whole, picture), packer.pack(features, picture), packer.pack(head, *maps)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OperatorError(f'Unknown device "{name}": use cpu, cuda or cuda:N.') from error
    if device.type not in ("cpu", "cuda"):
        raise OperatorError(f'The device "{name}" is not supported: use cpu, cuda or cuda:N.')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OperatorError(
            f'The device "{name}" is not there, torch sees {torch.cuda.device_count()} CUDA devices: use cpu, or '
            "install a torch build with CUDA."
        )
    return device


def _to_numpy(maps: Sequence[Tensor]) -> list[F32]:
    return [m[0].float().cpu().numpy() for m in maps]


class OpenVinoRuntime:
    """OpenVINO on the CPU, one stream, shapes static for each input size."""

    name = "openvino"

    def __init__(self, net: NanoDet, precision: str, threads: int) -> None:
        try:
            from everyframe.operators.detectors.graph import core, to_openvino
        except ImportError as error:
            raise OperatorError(
                'OpenVINO is not installed: run pip install "everyframe[openvino]" or use the torch runtime.'
            ) from error
        self.precision = precision
        self._core = core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise OperatorError("This CPU has no bf16 arithmetic for OpenVINO: use precision f32.")
        self._config = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,  # left alone, OpenVINO picks bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # pinned, all processes of a machine would share the first core
        }
        self._net = net
        self._convert = to_openvino
        self._requests: dict[tuple[Any, ...], Any] = {}

    def run(self, x: F32) -> list[F32]:
        return [m[0] for m in self._infer(Whole, [x])]

    def run_many(self, x: F32) -> Iterator[list[F32]]:
        """One after the other: shapes are static, and each length of a batch would be compiled."""
        for i in range(len(x)):
            yield self.run(x[i : i + 1])

    def features(self, x: F32) -> Maps:
        f8, f16, f32 = (torch.from_numpy(m.copy()) for m in self._infer(_Features, [x]))
        return f8, f16, f32

    def head(self, features: Maps) -> list[F32]:
        return [m[0] for m in self._infer(_Head, [f.contiguous().numpy() for f in features])]

    def _infer(self, part: type[Whole], inputs: list[F32]) -> list[F32]:
        """Outputs are views of the request's own memory, good until its next call."""
        key = (part, *(x.shape for x in inputs))
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = self._compile(part, inputs)
            if len(self._requests) > SIZES:
                del self._requests[next(iter(self._requests))]
        result = request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)
        return [np.asarray(result[i]) for i in range(3)]

    def _compile(self, part: type[Whole], inputs: list[F32]) -> Any:
        # The names of what is rounded are those of the whole net.
        levels = self._net.quantized if self.precision == "int8" and part is Whole else None
        model = self._convert(part(self._net), [x.shape for x in inputs], levels)
        try:
            return self._core.compile_model(model, "CPU", self._config).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            raise OperatorError(
                f"OpenVINO cannot run the model here ({reason}): use the torch runtime."
            ) from error
