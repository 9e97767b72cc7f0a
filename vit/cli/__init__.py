"""The `vit` command: one file a sub-command, each imported only when it is called.

A command is a function `run(arguments) -> exit code`. What the user can mend is raised as ValueError or OSError with a
sentence, and becomes one `error:` line and exit code 2 here.
"""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentError as ArgparseError
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "fit": "train a ViT",
    "plan": "measure a few steps: time to finish, memory, the largest batch",
    "test": "measure a finished run on the test images",
    "report": "draw learning curves, confusions and the worst mistakes of a run again",
    "predict": "label images",
    "explain": "draw what a model attends to, by attention rollout",
    "compare": "train ours and timm's under one recipe and put them in one table",
    "data": "look at images before training: check them all, show a batch",
    "info": "show what a model is: architecture, classes, size, origin",
    "parity": "prove that another library's weights make the same model here",
}

USAGE = "usage: vit [-h] [--version] [--debug] COMMAND ..."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 done in part, 2 wrong input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name must not end the naming of all others
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if debug:
        return _dispatch(given)
    from jsonargparse import ArgumentError

    try:
        return _dispatch(given)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ArgumentError, ArgparseError, ModuleNotFoundError) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(": ".join(["interrupted", *map(str, stop.args)]), file=sys.stderr)
        return 130


def _sentence(error: BaseException) -> str:
    """One line: what is wrong, where, and what would work."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, ModuleNotFoundError):
        return f"this needs the package {error.name}, which is not installed."
    text = str(error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch's, of a process that reads images
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in {"-h", "--help"}:
        print(_help())
        return 0 if given else 2
    if given[0] == "--version":
        from vit import __version__

        print(f"plain-vit {__version__}")
        return 0
    name, *rest = given
    if name not in COMMANDS:
        from vit.spelling import did_you_mean

        raise ValueError(f"there is no command {name!r}{did_you_mean(name, COMMANDS)}")
    return import_module(f"vit.cli.{name}").run(rest)


def _help() -> str:
    commands = "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())
    return (
        f"{USAGE}\n\nPlain Vision Transformers: train, compare, predict, explain.\n\ncommands:\n{commands}\n\n"
        "  vit COMMAND --help says more; --debug shows the traceback of an error.\n\n"
        "start here:  vit fit --config configs/digits.yaml"
    )
