"""Reads what the first bytes of a packet say of its picture, without decoding: ITU-T H.264, clauses 7.3.1 to 7.3.3.

Also MPEG-4 Part 2, whose picture type is two bits after a start code. Other codecs say nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

_SLICES = frozenset({1, 2, 5})  # a slice, its partition A, an IDR slice
_SEI = 6
_SPS = 7
_RECOVERY_POINT = 6  # the SEI payload
_SLICE_TYPES = "PBIPI"
_VOP_TYPES = "IPBP"
_HEAD = 512
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True, slots=True)
class PictureHead:
    """picture: 'I', 'P', 'B' or '?' (no picture found). is_reference: False only where no other picture needs it.

    is_field: the picture is one field, half a frame. is_gradual: decoding may begin here, but gives whole pictures
    only later.
    """

    picture: str
    is_reference: bool
    is_field: bool = False
    is_gradual: bool = False


UNKNOWN = PictureHead("?", True)
_EITHER = (False, True)
_HEADS = {key: PictureHead(*key) for key in product("IPB", _EITHER, _EITHER, _EITHER)}


class _Bits:
    """Reads unsigned and Exp-Golomb numbers from the left; IndexError past the end."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, width: int) -> int:
        self._left -= width
        if self._left < 0:
            raise IndexError("end of header")
        return (self._value >> self._left) & ((1 << width) - 1)

    def ue(self) -> int:
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if zeros > 32:
            raise IndexError("not a number")
        self.u(zeros)
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence parameter set says of how to read slice headers."""

    may_have_fields: bool
    has_colour_planes: bool
    frame_num_bits: int
    allows_gaps: bool = True


_FRAMES_ONLY = _Sequence(False, False, 4)


class PacketReader:
    """Reads one stream's packets in decode order; remembers the parameter sets it meets. Never raises on garbage."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length_size = 0
        self._sequence = _FRAMES_ONLY
        self._sps = b""
        self._is_gradual = False
        self._reference_num: int | None = None
        self._has_gap = False
        extradata = extradata or b""
        if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
            self._length_size = (extradata[4] & 3) + 1
            size = int.from_bytes(extradata[6:8], "big")
            self._learn(_SPS, extradata[8 : 8 + size])
        elif codec == "h264":
            self.read(extradata)

    @property
    def knows_pictures(self) -> bool:
        """A packet of this codec for which `read` says '?' holds no picture."""
        return self._codec == "h264"

    @property
    def sps(self) -> bytes:
        """The sequence parameter set met last, empty where there was none."""
        return self._sps

    @property
    def has_gap(self) -> bool:
        """A picture that others need is missing between the last picture read and the one before it: clause 7.4.3,
        frame_num goes up by one with each. Never where the stream may leave numbers out."""
        return self._has_gap

    def read(self, packet: bytes | bytearray | memoryview) -> PictureHead:
        """The head of a packet's first picture."""
        if self._codec == "h264":
            return self._prefixed(packet) if self._length_size else self._annex_b(packet)
        if self._codec == "mpeg4":
            return _vop(bytes(packet[: 2 * _HEAD]))
        return UNKNOWN

    def pictures(self, packet: bytes | bytearray | memoryview) -> int:
        """How many pictures begin in a packet of H.264: slices whose first macroblock is number 0."""
        data = bytes(packet)
        return sum(data[at] & 31 in _SLICES and data[at + 1] >= 0x80 for at in self._units(data))

    def _units(self, data: bytes) -> Iterator[int]:
        """Where each NAL unit begins that has at least two bytes."""
        if self._length_size:
            start = self._length_size
            while start + 1 < len(data):
                yield start
                start += int.from_bytes(data[start - self._length_size : start], "big") + self._length_size
            return
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 4:
            yield at + 3
            at = data.find(b"\0\0\1", at + 3)

    def _prefixed(self, packet: bytes | bytearray | memoryview) -> PictureHead:
        width, size, at = self._length_size, len(packet), 0
        self._is_gradual = False
        while at + width < size:
            start = at + width
            kind = packet[start] & 31
            at = start + int.from_bytes(packet[at:start], "big")
            if kind in _SLICES:
                return self._slice(bytes(packet[start : start + 32]))
            if kind in (_SPS, _SEI):
                self._learn(kind, bytes(packet[start:at]))
        return UNKNOWN

    def _annex_b(self, packet: bytes | bytearray | memoryview) -> PictureHead:
        data = bytes(packet[:_HEAD])
        found = self._search(data)
        if found is UNKNOWN and len(packet) > len(data):
            found = self._search(bytes(packet))
        return found

    def _search(self, data: bytes) -> PictureHead:
        at = data.find(b"\0\0\1")
        self._is_gradual = False
        while 0 <= at < len(data) - 4:
            kind = data[at + 3] & 31
            if kind in _SLICES:
                return self._slice(data[at + 3 : at + 35])
            following = data.find(b"\0\0\1", at + 3)
            if kind in (_SPS, _SEI) and following > 0:
                self._learn(kind, data[at + 3 : following])
            at = following
        return UNKNOWN

    def _slice(self, head: bytes) -> PictureHead:
        """Parses a slice header as far as the field flag."""
        is_reference = head[0] & 0x60 != 0
        bits = _Bits(head[1:].replace(b"\0\0\3", b"\0\0"))
        is_field = False
        try:
            bits.ue()
            kind = bits.ue()
            if kind >= 10:
                return UNKNOWN
            if not self._sequence.allows_gaps or self._sequence.may_have_fields:
                bits.ue()
                bits.u(2 if self._sequence.has_colour_planes else 0)
                self._follow(bits.u(self._sequence.frame_num_bits), head[0])
                is_field = self._sequence.may_have_fields and bits.u(1) == 1
            return _HEADS[_SLICE_TYPES[kind % 5], is_reference, is_field, self._is_gradual]
        except IndexError:
            return UNKNOWN

    def _follow(self, number: int, head: int) -> None:
        """Compares a picture's frame_num with that of the last reference picture."""
        last, is_idr = self._reference_num, head & 31 == 5
        usual = last is None or is_idr or number in (last, (last + 1) % (1 << self._sequence.frame_num_bits))
        self._has_gap = not (usual or self._sequence.allows_gaps)
        if head & 0x60:
            self._reference_num = number

    def _learn(self, kind: int, unit: bytes) -> None:
        """Takes what later slices need from a parameter set or an SEI message."""
        if kind == _SPS and unit == self._sps:
            return
        plain = unit.replace(b"\0\0\3", b"\0\0")
        try:
            if kind == _SEI:
                self._is_gradual = self._is_gradual or _recovery_frames(plain) > 0
            else:
                self._sps = unit
                self._sequence = _parse_sps(plain)
        except IndexError:
            self._sequence = self._sequence if kind == _SEI else _FRAMES_ONLY


def _recovery_frames(sei: bytes) -> int:
    """recovery_frame_cnt of a recovery point (clause D.1.8), 0 where there is none."""
    at = 1
    while at < len(sei) - 1:
        numbers = []
        for _ in range(2):  # payload type, payload size
            number = 0
            while sei[at] == 0xFF:
                number += 0xFF
                at += 1
            numbers.append(number + sei[at])
            at += 1
        if numbers[0] == _RECOVERY_POINT:
            return _Bits(sei[at : at + numbers[1]]).ue()
        at += numbers[1]
    return 0


def _parse_sps(sps: bytes) -> _Sequence:
    profile = sps[1]
    bits = _Bits(sps[4:])
    bits.ue()
    has_planes = False
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        has_planes = chroma == 3 and bits.u(1) == 1
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.ue() + 4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    allows_gaps = bits.u(1) == 1
    bits.ue()
    bits.ue()
    return _Sequence(bits.u(1) == 0, has_planes, frame_num_bits, allows_gaps)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _vop(data: bytes) -> PictureHead:
    """MPEG-4 Part 2: vop_coding_type follows the start code of a video object plane."""
    at = data.find(b"\0\0\1\xb6")
    if at < 0 or at + 4 >= len(data):
        return UNKNOWN
    picture = _VOP_TYPES[data[at + 4] >> 6]
    return _HEADS[picture, picture != "B", False, False]
