"""`vit explain`: image files -> pictures of what the model attended to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from PIL import Image

from vit.cli.explain_flags import KINDS, check, parsed
from vit.cli.explain_settings import class_index, given_settings
from vit.cli.explain_work import Wish
from vit.explain.draw.files import require_free, save_index, stems, without_ours
from vit.explain.draw.scale import OPACITY, Look
from vit.parsing import exit_code
from vit.predict import Failure, Predictor, find_images


def run(arguments: list[str]) -> int:
    """Draw; exit code 1 where a file could not be read (named on stderr, the others drawn), 2 where none could."""
    args = parsed(arguments)
    kinds = [kind for kind in (*KINDS, "evaluate") if args[kind]] or ["overlay"]
    methods = list(dict.fromkeys(args.method or ["rollout"])) if {"overlay", "evaluate"} & set(kinds) else []
    check(args, kinds, methods)
    settings = given_settings(args, [*methods, *(["rollout"] if "growth" in kinds else [])])
    paths = list(dict.fromkeys(without_ours(find_images(args.images))))
    if not paths:
        raise ValueError("these images were all drawn by vit explain; give it the photographs themselves.")
    look = Look(opacity=OPACITY if args.opacity is None else args.opacity, smooth=args.smooth)
    pictures = Pictures(Predictor.load(args.model, args.device), paths)
    if args.evaluate:
        _evaluate(args, pictures, settings)
    else:
        wish = Wish(
            kinds=kinds,
            settings={method: settings[method] for method in methods},
            growth=settings.get("rollout", {}),
            targets=list(dict.fromkeys(class_index(pictures.predictor.card, name) for name in args.target or ())),
            top_k=args.top_k or 1,
            look=look,
            shared_scale=args.shared_scale,
            film=args.film or "gif",
            arrays=args.npy,
        )
        _draw(args, pictures, wish)
    return exit_code(len(pictures.failed), len(paths))


class Pictures:
    """Image files, to be gone through as often as needed; one that cannot be read is left out, and named once."""

    def __init__(self, predictor: Predictor, paths: Sequence[str]) -> None:
        self.predictor, self.paths = predictor, paths
        self.failed: set[str] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, Image.Image]]:
        for path in self.paths:
            picture = self.predictor.read_or_failure(path)
            if not isinstance(picture, Failure):
                yield path, picture
            elif path not in self.failed:
                self.failed.add(path)
                print(f"error: {picture.reason}", file=sys.stderr)


def _evaluate(args: Namespace, pictures: Pictures, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Find out the labels, then measure, if there is a picture."""
    from vit.cli.explain_evaluate import evaluate, labels_by_folder, labels_by_table

    card = pictures.predictor.card
    if args.labels is None:
        labels = labels_by_folder(pictures.paths, card)
    else:
        labels = labels_by_table(pictures.paths, Path(args.labels), args.label_column, card)
    if next(iter(pictures), None) is None:
        return
    fills = list(dict.fromkeys(args.fills or ("black", "drop")))
    evaluate(pictures.predictor, pictures, labels, settings, fills, Path(args.output), _short(args.model))


def _draw(args: Namespace, pictures: Pictures, wish: Wish) -> None:
    """Make sure that no file of the user's is in the way, then draw and name what was drawn."""
    from vit.cli.explain_draw import Artist  # brings matplotlib, and wrong input should not wait for that

    output = Path(args.output)
    artist = Artist(pictures.predictor, wish)
    bases = {path: output / stem for path, stem in stems(pictures.paths).items()}
    files = [file for base in bases.values() for file in artist.files(base)]
    sheets = [output / "index.html"] * (len(bases) > 1) if files else []
    inside = [output / "xray.png"] if "xray" in wish.kinds else []
    require_free([*files, *sheets, *inside])
    for file in inside:
        _xray(pictures.predictor, args.model, pictures, file)
    drawn: dict[str, list[Path]] = {}
    for work in artist.works(pictures) if files else ():
        drawn[work.path] = artist.draw(work, bases[work.path])
        print(*drawn[work.path], sep="\n", flush=True)
    if sheets and len(drawn) > 1:
        save_index(drawn, sheets[0], f"{_short(args.model)}: {len(drawn)} images explained")
        print(sheets[0])


def _xray(predictor: Predictor, model: str, pictures: Iterable[tuple[str, Image.Image]], file: Path) -> None:
    """Draw the page, if there is a picture."""
    from vit.explain.draw.xray import draw_xray
    from vit.explain.xray import heads_of

    readable = iter(pictures)
    first = next(readable, None)
    if first is None:
        return
    batches = (predictor.images([picture]) for _, picture in chain([first], readable))
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
