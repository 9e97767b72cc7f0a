"""`vit explain`: image files -> pictures of what the model attended to."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from PIL import Image

from vit.explain import Explanation, explain
from vit.explain.rollout import HeadFusion
from vit.parsing import add_model_and_images, command_parser, exit_code
from vit.predict import Failure, Predictor, find_images


def run(arguments: list[str]) -> int:
    """Draw one PNG for each image; exit code 1 where a file could not be read (named on stderr, the others drawn)."""
    parser = command_parser("explain", "Draw attention rollout (Abnar & Zuidema 2020) over images.")
    add_model_and_images(parser)
    parser.add_argument("--output", type=str, default="explanations", help="folder for the pictures")
    parser.add_argument("--head-fusion", type=HeadFusion, default="mean", help="how the heads of a layer are fused")
    parser.add_argument("--discard-ratio", type=float, default=0.0, help="share of the smallest weights left out")
    parser.add_argument("--start-layer", type=int, default=0, help="first layer that counts; 0 is nearest the image")
    parser.add_argument("--residual", type=float, default=0.5, help="share of a step that stays where it is")
    args = parser.parse_args(arguments)
    paths = find_images(args.images)
    predictor = Predictor.load(args.model, args.device)
    output = Path(args.output)
    settings = {
        "head_fusion": args.head_fusion,
        "discard_ratio": args.discard_ratio,
        "start_layer": args.start_layer,
        "residual": args.residual,
    }
    failures = 0
    names = _names(paths)
    for path in paths:
        picture = predictor.read_or_failure(path)
        if isinstance(picture, Failure):
            failures += 1
            print(f"error: {picture.reason}", file=sys.stderr)
            continue
        explanation = explain(predictor.model, predictor.images([picture]), "rollout", **settings)
        print(_draw(predictor, picture, explanation, path, output / names[path]))
    return exit_code(failures, len(paths))


def _draw(predictor: Predictor, picture: Image.Image, explanation: Explanation, path: str, target: Path) -> Path:
    from vit.explain.overlay import draw, save

    target_class = int(explanation.target[0])
    name = predictor.card.label(target_class)
    probability = float(explanation.probabilities[0, target_class])
    caption = (
        f"{Path(path).name}: share of each patch in the {explanation.method} of what the head reads; patches have "
        f"{100 * float(explanation.maps[0].sum()):.0f} % together.\nThe same for every class: it says where the model "
        "looked, not what for."
    )
    save(draw(picture, explanation.maps[0], f"{name}  {100 * probability:.1f} %", caption), target)
    return target


def _names(paths: list[str]) -> dict[str, str]:
    """NAME.rollout.png for each image, with its folder in front where another has its name, and a number if need be."""
    names: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        given = Path(path)
        alone = sum(Path(other).stem == given.stem for other in set(paths)) == 1
        stem = given.stem if alone else "-".join([*given.parent.parts[-1:], given.name.replace(".", "-")])
        free = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        names[path] = next(name for name in (f"{one}.rollout.png" for one in free) if name not in names.values())
    return names
