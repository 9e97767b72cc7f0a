"""What all commands' parsers share: no abbreviations, errors as exceptions, `--model`."""

from __future__ import annotations

from jsonargparse import ArgumentParser


def command_parser(name: str, description: str) -> ArgumentParser:
    """A parser for `vit NAME`. Abbreviated flags are refused, and errors are raised for `vit.cli.main` to print."""
    return ArgumentParser(prog=f"vit {name}", description=description, allow_abbrev=False, exit_on_error=False)


def add_model_and_images(parser: ArgumentParser) -> None:
    """The arguments of commands that run a finished model on image files."""
    parser.add_argument("images", nargs="+", type=str, help="image files, folders, or quoted patterns: 'photos/*.jpg'")
    parser.add_argument("--model", type=str, required=True, help="model folder, such as runs/NAME/model")
    parser.add_argument("--device", type=str, default="cpu", help="where the model runs: cpu, cuda, mps")
