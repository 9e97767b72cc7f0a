"""From an exception to the sentence that a user reads."""

from __future__ import annotations

from jsonargparse import ArgumentError

USER_ERRORS = (ValueError, OSError, ArgumentError, ModuleNotFoundError)


def explain_error(error: BaseException) -> str:
    """One line: what is wrong, where, and what would work."""
    return " ".join(str(error).split())
