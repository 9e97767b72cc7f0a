"""The flags of `vit explain`, and which of them go together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from vit.cli.explain_settings import add_settings
from vit.explain import METHODS
from vit.explain.draw.files import Film
from vit.explain.draw.scale import OPACITY
from vit.explain.explain import method_named
from vit.explain.removal import Fill
from vit.parsing import add_model_and_images, command_parser

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
    "fills": {"evaluate"},
    "labels": {"evaluate"},
    "label_column": {"evaluate"},
}
"""What a flag changes; flags that are not here change everything, or see to it themselves."""


LISTS = ("--method", "--target", "--fills")
"""Flags that take all words up to the next flag, images that follow them included."""


def parsed(arguments: Sequence[str]) -> Namespace:
    """The arguments of `vit explain`.

    Raises:
        ArgumentError: one is missing, unknown or of no use.
        ValueError: the images came after a flag that takes all words.
    """
    try:
        return explain_parser().parse_args(list(arguments))
    except ArgumentError as error:
        taking = [flag for flag in LISTS if flag in arguments]
        if "missing: images;" not in str(error) or not taking:
            raise
        raise ValueError(
            f"no images: {taking[0]} takes all words up to the next flag, so images come first, as in "
            f"`vit explain IMAGES --model MODEL {taking[0]} ...`."
        ) from None


def explain_parser() -> ArgumentParser:
    """Flags for kinds of pictures, for how they look, for measuring, and for every setting of every method."""
    parser = command_parser(
        "explain",
        "Draw what a model attends to. Files that vit explain drew before are replaced, no other file is.",
    )
    parser.usage = "vit explain IMAGES... --model MODEL [flags]"  # in this order: some flags take all words that follow
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
        "--fills", type=Fill, nargs="+", help="what takes a patch's place in --evaluate; black and drop where not said"
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


def check(args: Namespace, kinds: Sequence[str], methods: Sequence[str]) -> None:
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
