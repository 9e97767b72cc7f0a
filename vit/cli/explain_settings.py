"""Flags of `vit explain` that come from elsewhere: the settings of the methods, and the names of the classes."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from vit.explain import METHODS
from vit.spelling import did_you_mean
from vit.weights import ModelCard


def add_settings(parser: ArgumentParser) -> None:
    """A flag for every setting that a method has; help, types and defaults are those of the methods."""
    for name in _names():
        having = {method: known.settings[name] for method, known in METHODS.items() if name in known.settings}
        kinds = [get_type_hints(METHODS[method].answer)[name] for method in having]
        defaults = ", ".join(f"{method} {parameter.default}" for method, parameter in having.items())
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_either([*kinds, types.NoneType]),
            default=None,
            help=f"{_described(name, next(iter(having)))} [by default: {defaults}]",
        )


def given_settings(args: Namespace, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each method, the settings that were typed.

    Raises:
        ValueError: one that none of the methods has.
    """
    given = {name: args[name] for name in _names() if args[name] is not None}
    for name in given:
        if not any(name in METHODS[method].settings for method in methods):
            having = [method for method, known in METHODS.items() if name in known.settings]
            flag = f"--{name.replace('_', '-')}"
            here = f"no setting of {' or '.join(methods)}, but" if methods else "for --overlay: a setting"
            raise ValueError(f"{flag} is {here} of {', '.join(having)}.")
    return {
        method: {name: value for name, value in given.items() if name in METHODS[method].settings} for method in methods
    }


def class_index(card: ModelCard, wanted: str) -> int:
    """The number of a class that is given by its name, by what its name means, or by its number.

    Raises:
        ValueError: no such class, the nearest name being said, or several of that meaning.
    """
    if wanted in card.classes:
        return card.classes.index(wanted)
    meanings = [card.descriptions.get(name, name) for name in card.classes]
    labels = [card.label(index) for index in range(len(card.classes))]
    found = [index for index, names in enumerate(zip(meanings, labels, strict=True)) if wanted in names]
    if len(found) > 1:
        numbers = " and ".join(f"{index} ({card.classes[index]})" for index in found)
        raise ValueError(f"{len(found)} classes are called {wanted!r}: {numbers}; --target takes those, too.")
    if found:
        return found[0]
    if wanted.removeprefix("-").isdigit():
        if 0 <= int(wanted) < len(card.classes):
            return int(wanted)
        raise ValueError(f"--target {wanted} is not one of the {len(card.classes)} classes, 0 to {len(labels) - 1}.")
    raise ValueError(f"there is no class {wanted!r}{did_you_mean(wanted, {*card.classes, *meanings})}")


def _names() -> list[str]:
    """All settings of all methods, in order, each once."""
    return list(dict.fromkeys(name for method in METHODS.values() for name in method.settings))


def _either(kinds: Sequence[Any]) -> Any:
    """A type that is one of these; the choices of several literals are put together."""
    choices = tuple(dict.fromkeys(c for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)))
    result: Any = Literal[choices] if choices else None
    for kind in kinds:
        if get_origin(kind) is not Literal:
            result = kind if result is None else result | kind
    return result


def _described(name: str, method: str) -> str:
    """What the docstring of a method says about one of its settings."""
    from docstring_parser import parse

    texts = {each.arg_name: each.description or "" for each in parse(METHODS[method].answer.__doc__ or "").params}
    text = " ".join(texts.get(name, "").split())
    return (text[:1].lower() + text[1:]).rstrip(".")
