"""`vit explain`: image files -> pictures of what the model attended to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from PIL import Image

from vit.cli.explain_settings import add_settings, class_index, given_settings
from vit.explain import METHODS
from vit.explain.draw.files import Film, require_free, save_index, stems, without_ours
from vit.explain.draw.scale import OPACITY, Look
from vit.explain.explain import method_named
from vit.explain.removal import Fill
from vit.parsing import add_model_and_images, command_parser, exit_code
from vit.predict import Failure, Predictor, find_images

KINDS = {
    "overlay": "draw the maps of the methods over the picture; done where no other kind is asked for",
    "heads": "draw a contact sheet: what the class token attends to, in every layer and head",
    "growth": "draw the rollout after every layer, as a contact sheet and as a film",
    "html": "write a page to explore offline: point at a patch, see what it attends to in each layer",
    "xray": "draw one page about the model: positions, patch filters, how far and how widely its heads look",
}

CONCERNS = {
    "method": {"overlay", "evaluate"},
    "target": {"overlay"},
    "top_k": {"overlay"},
    "shared_scale": {"overlay", "heads"},
    "opacity": {"overlay", "growth"},
    "smooth": {"overlay", "growth"},
    "film": {"growth"},
}
"""What a flag changes; flags that are not here change everything, or see to it themselves."""


def run(arguments: list[str]) -> int:
    """Draw; exit code 1 where a file could not be read (named on stderr, the others drawn), 2 where none could."""
    args = _parser().parse_args(arguments)
    output, kinds = Path(args.output), [kind for kind in (*KINDS, "evaluate") if args[kind]] or ["overlay"]
    methods = list(dict.fromkeys(args.method or ["rollout"])) if {"overlay", "evaluate"} & set(kinds) else []
    _check(args, kinds, methods)
    settings = given_settings(args, [*methods, *(["rollout"] if "growth" in kinds else [])])
    paths = list(dict.fromkeys(without_ours(find_images(args.images), output)))
    if not paths:
        raise ValueError("these images were all drawn by vit explain; give it the photographs themselves.")
    look = Look(opacity=OPACITY if args.opacity is None else args.opacity, smooth=args.smooth)
    predictor = Predictor.load(args.model, args.device)
    failures = _Failures()
    if args.evaluate:
        _evaluate(args, predictor, failures.left_out(predictor, paths), paths, settings)
        return exit_code(len(failures.named), len(paths))
    from vit.cli.explain_draw import Artist, Wish  # brings matplotlib, and wrong input should not wait for that

    wish = Wish(
        kinds=kinds,
        settings={method: settings[method] for method in methods},
        growth=settings.get("rollout", {}),
        targets=list(dict.fromkeys(class_index(predictor.card, name) for name in args.target or ())),
        top_k=args.top_k or 1,
        look=look,
        shared_scale=args.shared_scale,
        film=args.film or "gif",
        arrays=args.npy,
    )
    artist = Artist(predictor, wish)
    bases = {path: output / stem for path, stem in stems(paths).items()}
    files = [file for base in bases.values() for file in artist.files(base)]
    sheets = [output / "index.html"] * (len(paths) > 1) if files else []
    require_free([*files, *sheets, *([output / "xray.png"] if "xray" in kinds else [])])
    if "xray" in kinds:
        _xray(predictor, args.model, failures.left_out(predictor, paths), output / "xray.png")
    drawn: dict[str, list[Path]] = {}
    for work in artist.works(failures.left_out(predictor, paths)) if files else ():
        drawn[work.path] = artist.draw(work, bases[work.path])
        print(*drawn[work.path], sep="\n", flush=True)
    if sheets and len(drawn) > 1:
        save_index(drawn, sheets[0], f"{_short(args.model)}: {len(drawn)} images explained")
        print(sheets[0])
    return exit_code(len(failures.named), len(paths))


class _Failures:
    """Files that cannot be read: each is named once, however often they are gone through."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    def left_out(self, predictor: Predictor, paths: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
        """The pictures that can be read."""
        for path in paths:
            picture = predictor.read_or_failure(path)
            if not isinstance(picture, Failure):
                yield path, picture
            elif path not in self.named:
                self.named.add(path)
                print(f"error: {picture.reason}", file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = command_parser(
        "explain",
        "Draw what a model attends to. Files that vit explain drew before are replaced, no other file is.",
    )
    add_model_and_images(parser)
    parser.add_argument("--output", type=str, default="explanations", help="folder for what is drawn")
    for kind, what in KINDS.items():
        parser.add_argument(f"--{kind}", action="store_true", help=what)
    parser.add_argument("--npy", action="store_true", help="write the numbers, too: .npy, and .json that says of what")
    parser.add_argument("--method", type=str, nargs="+", help=_methods())
    parser.add_argument(
        "--target", type=str, nargs="+", help="classes to explain, by name or number; else the likeliest"
    )
    parser.add_argument("--top-k", type=int, help="explain this many of the likeliest classes side by side")
    parser.add_argument("--shared-scale", action="store_true", help="the same colours for the same scores everywhere")
    parser.add_argument(
        "--opacity", type=float, help=f"of the map over the picture, from 0 to 1; {OPACITY} where not said"
    )
    parser.add_argument("--smooth", action="store_true", help="let colours run into each other from patch to patch")
    parser.add_argument(
        "--film", type=Film, help="form of --growth: gif opens anywhere and is the default, webp is truer"
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="draw no pictures, but measure how far the maps can be trusted: take patches away in their order",
    )
    parser.add_argument(
        "--fills", type=Fill, nargs="+", default=["black", "drop"], help="what takes a patch's place in --evaluate"
    )
    parser.add_argument(
        "--labels", type=str | None, help="table of the images' classes for --evaluate; else their folders' names"
    )
    parser.add_argument("--label-column", type=str | None, help="its column of the classes, if it is not called so")
    add_settings(parser)
    return parser


def _methods() -> str:
    kinds = {True: "of the class", False: "the same for every class"}
    return "rollout where not said; " + "; ".join(
        f"{name}: {known.title}, {kinds[known.class_specific]}" for name, known in METHODS.items()
    )


def _check(args: Namespace, kinds: Sequence[str], methods: Sequence[str]) -> None:
    """Raise a `ValueError` for what can be known to be wrong before anything is loaded."""
    if args.evaluate and (len(kinds) > 1 or args.npy):
        also = kinds[0] if len(kinds) > 1 else "npy"
        raise ValueError(f"--evaluate measures and draws nothing else; leave out --{also}.")
    for name, concerned in CONCERNS.items():
        if args[name] not in (None, False) and not concerned & set(kinds):
            able = " or ".join(f"--{kind}" for kind in (*KINDS, "evaluate") if kind in concerned)
            raise ValueError(f"--{name.replace('_', '-')} changes nothing here; it is for {able}.")
    for method in methods:
        needed = method_named(method).needs
        if needed and find_spec(needed) is None:
            raise ValueError(f"--method {method} needs {needed}, which is missing: pip install 'plain-vit[{needed}]'.")
    if args.npy and not {"overlay", "heads", "growth"} & set(kinds):
        raise ValueError("--npy writes the numbers of --overlay, --heads and --growth; ask for one of them, too.")
    if args.target or args.top_k is not None:
        _check_classes(args, methods)


def _check_classes(args: Namespace, methods: Sequence[str]) -> None:
    """The same for classes that are asked for."""
    if args.target and args.top_k is not None:
        raise ValueError("--target names classes and --top-k takes the likeliest ones; give one of the two.")
    if args.top_k is not None and args.top_k < 1:
        raise ValueError(f"--top-k {args.top_k} must be at least 1.")
    able = [name for name, known in METHODS.items() if known.class_specific]
    if not set(able) & set(methods):
        what = " and ".join(methods)
        raise ValueError(f"a class changes nothing in {what}, the same for all; methods of a class: {', '.join(able)}.")


def _evaluate(
    args: Namespace,
    predictor: Predictor,
    pictures: Iterator[tuple[str, Image.Image]],
    paths: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
) -> None:
    """Find out the labels, then measure."""
    from vit.cli.explain_evaluate import evaluate, labels_by_folder, labels_by_table

    if args.labels is None:
        labels = labels_by_folder(paths, predictor.card)
    else:
        labels = labels_by_table(paths, Path(args.labels), args.label_column, predictor.card)
    evaluate(predictor, pictures, labels, settings, list(dict.fromkeys(args.fills)), Path(args.output))


def _xray(predictor: Predictor, model: str, pictures: Iterator[tuple[str, Image.Image]], file: Path) -> None:
    """Draw the page, if there is a picture."""
    from vit.explain.draw.xray import draw_xray
    from vit.explain.xray import heads_of

    first = next(pictures, None)
    if first is None:
        return
    batches = (predictor.images([picture]) for _, picture in chain([first], pictures))
    config = predictor.model.config
    (gh, gw), (ph, pw) = config.grid, config.patch_hw
    caption = (
        f"{_short(model)}: {config.depth} layers of {config.num_heads} heads, {gh} x {gw} patches of {ph} x {pw} "
        f"pixels, {config.embed_dim} channels. After Dosovitskiy et al. 2021, figure 7."
    )
    draw_xray(predictor.model, heads_of(predictor.model, batches), "the model inside", caption).save(file)
    print(file)


def _short(model: str) -> str:
    """A model's name: of a path its last part, and the one before where that is all but every model's."""
    parts = Path(model).parts[-2:]
    return model if model.startswith(("timm/", "hf-hub:")) else "/".join(parts if parts[-1] == "model" else parts[-1:])
