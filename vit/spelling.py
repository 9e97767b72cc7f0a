"""An unknown name -> the end of a sentence about it."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them: what follows "there is no architecture 'vit_tiny'"."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(names)}."
