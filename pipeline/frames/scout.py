"""Frames decoded before their turn, each key frame in a codec of its own, from which the decoder can go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from everyframe.pipeline.frames.decoder import Ahead, Decoder
from everyframe.pipeline.records import Frame, Packet


class Scout:
    """Decodes ahead of `decoder`. another: makes a further codec of the same stream. ms: CPU spent and not yet taken.
    decoded: frames that the decoder does not know of."""

    def __init__(self, decoder: Decoder, another: Callable[[], Any]) -> None:
        self._decoder = decoder
        self._another = another
        self._free: list[Any] = []
        self._ms = 0.0
        self.decoded = 0

    def key(self, packet: Packet) -> tuple[Ahead, Frame] | None:
        """A key packet's frame, None where it gives none on its own."""
        context = self._take_context()
        raws = self._run(context, packet)
        is_held = not raws
        if is_held:
            raws = self._run(context, None)
        if len(raws) != 1 or raws[0].pts != packet.pts:
            self._give_back(context)
            return None
        if is_held:
            self._give_back(context)
            self.decoded += 1
        return Ahead(raws[0], None if is_held else context), self._decoder.frame(raws[0], packet.pts)

    def last(self, packets: Sequence[Packet]) -> Frame | None:
        """The frame of the last of these packets, of which the first is a key packet; None where there is none."""
        context = self._take_context()
        wanted = packets[-1].pts
        found = None
        for packet in (*packets, None):
            for raw in self._run(context, packet):
                self.decoded += 1
                if raw.pts == wanted:
                    found = self._decoder.frame(raw, wanted)
            if found is not None:
                break
        self._give_back(context)
        return found

    def done(self, ahead: Ahead) -> None:
        """Its codec, or the one that the decoder gave for it, is free again."""
        if ahead.context is not None:
            self._give_back(ahead.context)
            ahead.context = None

    def spent(self) -> float:
        """CPU ms since this was last asked."""
        ms, self._ms = self._ms, 0.0
        return ms

    def _run(self, context: Any, packet: Packet | None) -> list[Any]:
        raws, ms = self._decoder.run(context, packet)
        self._ms += ms
        return raws

    def _take_context(self) -> Any:
        if self._free:
            return self._free.pop()
        context = self._another()
        self._decoder.prepare(context)
        return context

    def _give_back(self, context: Any) -> None:
        context.flush_buffers()
        self._free.append(context)
