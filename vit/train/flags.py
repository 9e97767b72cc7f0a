"""The run's own flags, beside those that LightningCLI makes of the classifier, the data and the trainer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from jsonargparse import ActionYesNo
from lightning.pytorch.cli import LightningArgumentParser

from vit.parsing import ExplainsErrors
from vit.train.export import Export

AUTO, NEVER = "auto", "no"
"""Values of --resume that are no paths."""


class RunParser(ExplainsErrors, LightningArgumentParser):
    """Lightning's parser, with our words for errors."""


def add_run_flags(parser: LightningArgumentParser) -> None:
    """Where a run lives, how long it may take, how it survives, what it hands on."""
    parser.add_argument("--output", type=str, default="runs", help="folder in which the run makes its own")
    parser.add_argument("--name", type=str | None, default=None, help="its name there; default: the config's")
    parser.add_argument("--export", type=Export, default="best", help="weights of the model folder")
    parser.add_argument(
        *_both("early-stopping"),
        type=int | None,
        default=None,
        help="epochs without a better validation accuracy after which training ends, however often they are validated",
    )
    parser.add_argument(
        "--compile", nargs="?", action=ActionYesNo, default=False, help="let torch.compile make the network faster"
    )
    parser.add_argument(
        "--resume",
        type=str,
        default=AUTO,
        help="auto: go on with an unfinished run of that --name; no: never; or the run folder or checkpoint to go on "
        "from",
    )
    parser.add_argument(
        *_both("max-time"),
        type=str | None,
        default=None,
        help="stop training after that long, such as 90s, 10m or 1h30m",
    )
    parser.add_argument(
        *_both("checkpoint-every"),
        type=str,
        default="10m",
        help="longest time between two checkpoints; one is written before each validation, too",
    )
    parser.add_argument("--seeds", type=int, default=1, help="train so often, with seeds one after the other")
    parser.add_argument("--report", type=bool, default=True, help="measure and draw the finished model")
    parser.add_argument("--threads", type=int | None, default=None, help="CPU threads of torch; default: all cores")


def _both(flag: str) -> tuple[str, str]:
    """As the flags of the `vit` command are spelt, and as Lightning's, and the keys of configs, are."""
    return f"--{flag}", f"--{flag.replace('-', '_')}"


def of_run_folder(args: Sequence[str]) -> list[str]:
    """`--resume runs/NAME` without a config means the run's own.

    Raises:
        FileNotFoundError: nothing to go on from is there.
    """
    given = dict(pairwise([word for arg in args for word in arg.split("=", 1)] + [""]))
    resume = given.get("--resume", AUTO)
    folder = Path(resume)
    if given.keys() & {"--config", "-c"} or resume in (AUTO, NEVER) or folder.is_file():
        return list(args)
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(
            f"--resume {resume} is no run folder and no checkpoint; runs/NAME, PATH.ckpt, {AUTO} and {NEVER} work."
        )
    return ["--config", str(folder / "config.yaml"), *args]


def seconds(flag: str, text: str) -> float:
    """A time in words, such as 90s, 10m, 1h30m or 2d, in seconds; a number alone is seconds.

    Raises:
        ValueError: it is no time, or none at all.
    """
    found = re.fullmatch(
        r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().replace(" ", "")
    )
    days, hours, minutes, rest = found.groups(default="0") if found else ("0", "0", "0", "0")
    total = timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(rest)).total_seconds()
    if total <= 0:
        raise ValueError(f"{flag}={text} is not a time above 0; 90s, 10m, 1h30m and 2d are.")
    return total
