"""This machine: its CPU, and where caches live."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import lru_cache
from pathlib import Path

NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16"})


def cache_dir() -> Path:
    """$EVERYFRAME_CACHE, else everyframe in $XDG_CACHE_HOME, else ~/.cache/everyframe."""
    if own := os.environ.get("EVERYFRAME_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "everyframe"


@lru_cache(maxsize=1)
def _cpuinfo() -> tuple[str, frozenset[str]]:
    """CPU model and its feature flags; no flags where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    pairs = [line.partition(":") for line in lines]
    table = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    flags = table.get("flags") or table.get("Features") or ""
    return table.get("model name") or platform.machine(), frozenset(flags.split())


def cpu_name() -> str:
    """The CPU's own name."""
    return _cpuinfo()[0]


def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them ("avx2", "avx512_bf16")."""
    return _cpuinfo()[1]


def has_native_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself: without, bf16 is several times slower than f32."""
    return bool(cpu_flags() & NATIVE_BF16)


def machine_id() -> str:
    """CPU model and a hash of its flags: equal machines share their costs."""
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:8]
    return f"{cpu_name()} #{flags}"
