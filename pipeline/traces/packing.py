"""Motion fields of a clip in few bytes, and back again bit for bit.

The vectors of a codec take few different values, so each block of `BLOCK` frames keeps a sorted palette of float32 and,
per cell and axis, a number in it; low and high bytes apart, with the masks of known cells, compressed by LZMA.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import F32, U8, Bool

BLOCK = 16
MOST_VALUES = 1 << 16
COARSE = 16.0  # steps per pixel to which a denser field (optical flow) is rounded
NOISE, RESTLESS = 3, 16  # grey levels
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6}]


def pack(motion: F32, known: Bool) -> tuple[bytes, bool]:
    """motion (n, rows, cols, 2) float32 pixels and known (n, rows, cols) of up to `BLOCK` frames as bytes.

    Returns them and whether `unpack` gives the same values: fields of more than 65,536 different ones are rounded to
    a sixteenth of a pixel, and cut at 2,000 pixels.
    """
    palette, numbers = np.unique(motion, return_inverse=True)
    exact = len(palette) <= MOST_VALUES
    if not exact:
        rounded = np.clip(np.rint(motion * COARSE), -32000, 32000).astype(np.float32) / np.float32(COARSE)
        palette, numbers = np.unique(rounded, return_inverse=True)
    planes = np.moveaxis(numbers.reshape(motion.shape), -1, 0).astype("<u2")
    split = planes.reshape(-1).view(np.uint8).reshape(-1, 2).T
    head = np.array([len(palette), *known.shape], "<u4")
    parts = (head, palette.astype("<f4"), np.ascontiguousarray(split), np.packbits(known))
    data = b"".join(part.tobytes() for part in parts)
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS), exact


def unpack(data: bytes) -> tuple[F32, Bool]:
    """motion (n, rows, cols, 2) float32 and known (n, rows, cols) of one block. Raises ValueError on damaged bytes."""
    try:
        raw = lzma.decompress(data, lzma.FORMAT_RAW, filters=_FILTERS)
    except lzma.LZMAError as e:
        raise ValueError(f"motion of a trace cannot be unpacked: {e}") from e
    values, *shape = np.frombuffer(raw, "<u4", 4).tolist()
    cells = int(np.prod(shape))
    if len(raw) != 16 + 4 * values + 4 * cells + -(-cells // 8):
        raise ValueError("motion of a trace is cut short")
    palette = np.frombuffer(raw, "<f4", values, 16).astype(np.float32)
    split = np.frombuffer(raw, np.uint8, 4 * cells, 16 + 4 * values).reshape(2, -1)
    numbers = np.ascontiguousarray(split.T).view("<u2").reshape(2, *shape)
    bits = np.frombuffer(raw, np.uint8, offset=16 + 4 * values + 4 * cells)
    known = np.unpackbits(bits, count=cells).astype(np.bool_).reshape(shape)
    motion: F32 = np.ascontiguousarray(np.moveaxis(palette[numbers], 0, -1))
    return motion, known


def pack_luma(luma: U8) -> bytes:
    """luma (n, rows, cols) uint8 of up to `BLOCK` frames as bytes: the first, and then what changed from frame to frame."""
    change = np.diff(luma, axis=0, prepend=np.zeros_like(luma[:1]))  # modulo 256
    data = np.array(luma.shape, "<u4").tobytes() + change.tobytes()
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def unpack_luma(data: bytes) -> U8:
    """luma (n, rows, cols) uint8 of one block. Raises ValueError on damaged bytes."""
    try:
        raw = lzma.decompress(data, lzma.FORMAT_RAW, filters=_FILTERS)
        change = np.frombuffer(raw, np.uint8, offset=12).reshape(np.frombuffer(raw, "<u4", 3))
    except (lzma.LZMAError, ValueError) as e:
        raise ValueError(f"luma of a trace cannot be unpacked: {e}") from e
    return np.cumsum(change, 0, dtype=np.uint8)


def steady(luma: U8, before: U8 | None) -> U8:
    """luma (rows, cols) uint8 without the noise that costs bytes: a cell keeps the value before until it is `NOISE` off;
    where most cells change, the camera moves, they are told to half of `RESTLESS`."""
    if before is None or before.shape != luma.shape:
        return luma
    off = np.abs(luma.astype(np.int16) - before) > NOISE
    if off.mean() > 0.5:
        luma = (luma // RESTLESS * RESTLESS + RESTLESS // 2).astype(np.uint8)
    out: U8 = np.where(off, luma, before).astype(np.uint8)
    return out


def join(blocks: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The blocks' bytes behind each other, and where each ends."""
    ends = np.cumsum([len(block) for block in blocks], dtype=np.int64)
    return np.frombuffer(b"".join(blocks), np.uint8), ends
