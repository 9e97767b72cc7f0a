"""flags and YAML -> values: what the parsers of all commands share, which is how they say that something is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from vit.spelling import did_you_mean


class ExplainsErrors(ArgumentParser):
    """Errors in one sentence with the nearest known name, raised as `jsonargparse.ArgumentError`.

    Abbreviated flags are refused: --trainer.max_epoch would be taken for --trainer.max_epochs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(allow_abbrev=False, exit_on_error=False)
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise, in the words of this package."""
        flags = [action.option_strings[-1].removeprefix("--") for action in self._actions if action.option_strings]
        super().error(explain_error(message, flags), ex)

    def parse_path(self, cfg_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config file; one that holds no keys and values is refused by its name."""
        if sentence := _no_config(Path(cfg_path)):
            self.error(sentence)
        return super().parse_path(cfg_path, *args, **kwargs)


def _no_config(path: Path) -> str | None:
    """Why a file is no config, in a sentence; None where it is one, or cannot be read at all, which the parser says."""
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return f"config file {path} is no text; a config is YAML, such as those in configs/."
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else " ".join(str(error).split())
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"config file {path}{where} is no YAML: {problem}."
    if isinstance(content, dict):
        return None
    holds = {list: "a list", type(None): "nothing"}.get(type(content), "a single value")
    return f"config file {path} holds {holds}; a config is keys and values, such as seed_everything: 0."


def command_parser(name: str, description: str) -> ArgumentParser:
    """A parser for `vit NAME`."""
    return ExplainsErrors(prog=f"vit {name}", description=description)


def add_model_and_images(parser: ArgumentParser) -> None:
    """The arguments of commands that run a finished model on image files."""
    parser.add_argument("images", nargs="+", type=str, help="image files, folders, or quoted patterns: 'photos/*.jpg'")
    parser.add_argument("--model", type=str, required=True, help="model folder, such as runs/NAME/model")
    parser.add_argument("--device", type=str, default="cpu", help="where the model runs: cpu, cuda, mps")


def exit_code(failures: int, total: int) -> int:
    """0 where all files could be read, 1 where some could not, 2 where none could."""
    return 0 if failures == 0 else 1 if failures < total else 2


def explain_error(message: str, known: list[str]) -> str:
    """A parser's message made plain: which name is unknown and which is near, or which value is not of its type."""
    message = " ".join(message.split())
    if match := re.fullmatch(r"Group '(.+)' does not accept option '(.+)'|Option '(.+)' is not accepted", message):
        key = match[3] or f"{match[1]}.{match[2]}"
        return f"there is no option {key!r}{_near(key, known)}"
    if match := re.match(r"unrecognized arguments: ([^-]\S*\.ya?ml)", message):
        return f"{match[1]} is no flag; did you mean --config {match[1]}?"
    if match := re.match(r"unrecognized arguments: --([\w.-]+)", message):
        key = match[1]
        return f"there is no flag --{key}{_near(key, known, prefix='--')}"
    if sentence := _explain_value(message):
        return sentence
    if match := re.fullmatch(r"Parser key \"config\": File does not exist: '(.+)'", message):
        return f"config file {match[1]} does not exist."
    if match := re.fullmatch(r"the following arguments are required: (.+)", message):
        flags = [
            f"--{name}" if name.replace("_", "-") in known or name in known else name for name in match[1].split(", ")
        ]
        return f"missing: {', '.join(flags)}; --help says what for."
    return message


def _explain_value(message: str) -> str | None:
    """A message about a value that is not of its type, or lacks a package; None for other messages."""
    if match := re.search(r"given class_path '(?:.+?\.)?(\w+)': Requirement '(\w+)[^']*' not met", message):
        return f"{match[1]} needs the package {match[2]}, which is not installed: pip install {match[2]}."
    if match := re.fullmatch(r'Parser key "(.+?)"(?: element \d+)?: Expected an? (.+)\. Got value: (.*)', message):
        return _not_of_type(match[1], match[3], [match[2]])
    if match := re.fullmatch(
        r'Parser key "(.+?)": Does not validate against any of the Union subtypes Subtypes: \[(.+)\] Errors: .*? '
        r"Given value type: \S+ \S+ Given value: (.*)",
        message,
    ):
        if given := re.match(r"Namespace\(class_path='(?:.+\.)?(\w+)'", match[3]):
            flag = f"--{match[1]}.help {given[1]}"
            return f"{match[1]}={given[1]} lacks a value that it needs, or has a wrong one; {flag} lists them."
        return _not_of_type(match[1], match[3], re.split(r", (?![^\[]*\])", match[2]))
    if match := re.match(r'Parser key "(.+?)": - Expected a path but (\S+) either not accessible', message):
        return f"{match[1]}={match[2]} names no class; Lightning's go by their name, others as package.module.Class."
    return None


def _not_of_type(key: str, value: str, kinds: list[str]) -> str:
    """A sentence about a value that is of none of these types, with the nearest one where words are to choose from."""
    words = [word for kind in kinds if "Literal[" in kind for word in re.findall(r"'(.+?)'", kind)]
    if "did you mean" in (near := did_you_mean(value, words)):
        return f"{key}={value} is not known{near}"
    return f"{key}={value} is not of its type; expected {' or '.join(map(_plain_type, kinds))}."


def _plain_type(kind: str) -> str:
    """A type as a parser prints it, in fewer marks."""
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind.replace("typing.", "").replace("NoneType", "null"))
    return re.sub(r"Literal\[(.+)\]", r"one of \1", kind)


def _near(key: str, known: list[str], prefix: str = "") -> str:
    """The nearest known name: first among those of the same group, then by the last part of the name alone."""
    group = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == group]
    near = did_you_mean(key, siblings or known)
    if "did you mean" not in near:
        near = did_you_mean(key, known)
    if "did you mean" not in near:
        return "; --help lists all."
    return near.replace("'", "`").replace("`", f"'{prefix}", 1).replace("`", "'")
