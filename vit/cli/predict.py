"""`vit predict`: image files -> names and probabilities, for people and for programs."""

from __future__ import annotations

import csv
import json
import sys
from typing import Literal

from vit.parsing import add_model_and_images, command_parser, exit_code
from vit.predict import Failure, Prediction, Predictor, find_images


def run(arguments: list[str]) -> int:
    """Label images; exit code 1 where a file could not be read (named on stderr, the others labelled)."""
    parser = command_parser("predict", "Label images with the classes that a model was trained on.")
    add_model_and_images(parser)
    parser.add_argument("--top-k", type=int, default=3, help="how many of the likeliest classes")
    parser.add_argument("--batch-size", type=int, default=32, help="images that go through the model together")
    parser.add_argument("--format", type=Literal["text", "jsonl", "csv"], default="text", help="of what is printed")
    args = parser.parse_args(arguments)
    for name in ("top_k", "batch_size"):
        if args[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} {args[name]} must be at least 1.")
    paths = find_images(args.images)
    predictor = Predictor.load(args.model, args.device)
    show = {"text": _text, "jsonl": _jsonl, "csv": _Csv()}[args.format]
    failures = 0
    for answer in predictor.predict(paths, args.top_k, args.batch_size):
        if isinstance(answer, Failure):
            failures += 1
            print(f"error: {answer.reason}", file=sys.stderr)
        else:
            show(answer)
    if failures and len(paths) > 1:
        print(f"{failures} of {len(paths)} files could not be read", file=sys.stderr)
    return exit_code(failures, len(paths))


def _text(answer: Prediction) -> None:
    likeliest = ", ".join(
        f"{name} {100 * p:.1f} %" for name, p in zip(answer.classes, answer.probabilities, strict=True)
    )
    print(f"{answer.path}: {likeliest}")


def _jsonl(answer: Prediction) -> None:
    classes = [{"class": c, "probability": p} for c, p in zip(answer.classes, answer.probabilities, strict=True)]
    print(json.dumps({"path": answer.path, "classes": classes}, ensure_ascii=False))


class _Csv:
    """Rows of a table; the header comes with the first."""

    def __init__(self) -> None:
        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        self.started = False

    def __call__(self, answer: Prediction) -> None:
        if not self.started:
            numbers = range(1, len(answer.classes) + 1)
            self.writer.writerow(["path", *(f"{what}_{n}" for n in numbers for what in ("class", "probability"))])
            self.started = True
        pairs = zip(answer.classes, answer.probabilities, strict=True)
        self.writer.writerow([answer.path, *(value for pair in pairs for value in pair)])
