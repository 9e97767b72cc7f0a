"""An unknown name -> the end of a sentence about it."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, all of few, some of many: what follows "there is no architecture 'vit_tiny'"."""
    names = sorted(known)
    alike = {known_name.casefold(): known_name for known_name in names}
    near = difflib.get_close_matches(name.casefold(), alike, n=1)
    if near:
        return f"; did you mean {alike[near[0]]!r}?"
    some = names if len(names) <= 40 else [*names[:5], f"{len(names) - 5} others"]
    return f"; known are: {', '.join(some)}."
