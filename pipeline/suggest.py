"""Names that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, ignoring case; None where nothing is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """ ", did you mean 'x'?" or the short list of choices, to end a sentence with."""
    choices = list(choices)
    near = nearest(word, choices)
    if near is not None:
        return f", did you mean {near!r}?"
    shown = ", ".join(choices[:20])
    return f"; there is {shown}" + (", ..." if len(choices) > 20 else "")
