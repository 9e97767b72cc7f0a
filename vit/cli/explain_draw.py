"""One image -> its files, for `vit explain`: each kind of picture with its words, and the arrays beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Shaped
from PIL import Image

from vit.explain import Explanation, explain
from vit.explain.draw.files import Film, save_array
from vit.explain.draw.growth import draw_growth, film_frames, save_film
from vit.explain.draw.heads import draw_heads
from vit.explain.draw.overlay import OWN, Map, draw
from vit.explain.draw.page import draw_page, save_page
from vit.explain.draw.scale import Look, Scale
from vit.explain.layers import Seen, growth, head_maps, look_inside
from vit.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be drawn of every image."""

    kinds: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]
    """The methods, and the settings of each."""

    growth: Mapping[str, Any]
    """Settings of the rollout that is shown layer by layer."""

    targets: Sequence[int] = ()
    """Classes to explain; if there are none, the likeliest ones."""

    top_k: int = 1
    """How many of the likeliest ones."""

    look: Look = field(default_factory=Look)
    shared_scale: bool = False
    film: Film = "gif"
    arrays: bool = False


class Work:
    """One image on its way: what the models and the methods say about it, each asked once, when it is needed."""

    def __init__(self, path: str, picture: Image.Image, predictor: Predictor, wish: Wish) -> None:
        self.path, self.picture, self.predictor, self.wish = path, picture, predictor, wish

    @cached_property
    def images(self) -> torch.Tensor:
        """A batch of this image."""
        return self.predictor.images([self.picture])

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """Of all classes."""
        return self.predictor.probabilities([self.picture])[0]

    @cached_property
    def maps(self) -> list[list[Explanation]]:
        """A row for each method, with a map for each class; one map, where it is the same for every class."""
        model, wish = self.predictor.model, self.wish
        targets = wish.targets or self.probabilities.topk(min(wish.top_k, len(self.probabilities))).indices.tolist()
        rows: list[list[Explanation]] = []
        for method, settings in wish.settings.items():
            first = explain(model, self.images, method, target=targets[0], **settings)
            others = targets[1:] if first.class_specific else []
            rows.append([first, *(explain(model, self.images, method, target=t, **settings) for t in others)])
        return rows

    @cached_property
    def seen(self) -> Seen:
        """Attention of all layers and heads."""
        return look_inside(self.predictor.model, self.images)

    @property
    def title(self) -> str:
        """What the model says."""
        return f"predicted: {self.class_of(int(self.probabilities.argmax()), '  ')}"

    def class_of(self, index: int, between: str = ", ") -> str:
        """A class with its probability."""
        percent = f"{100 * float(self.probabilities[index]):.1f}\N{NO-BREAK SPACE}%"
        return f"{self.predictor.card.label(index)}{between}{percent}"


class Artist:
    """Draws what was wished for, image by image."""

    def __init__(self, predictor: Predictor, wish: Wish) -> None:
        self.predictor, self.wish = predictor, wish
        self.shared: dict[str, tuple[Scale, str]] = {}
        """Of each method whose maps share a scale, that scale, and how many maps it is of."""

    @cached_property
    def makers(self) -> dict[str, Callable[[Work, Path], None]]:
        """Endings of the files of an image, and what writes each."""
        wish, makers = self.wish, {}
        if "overlay" in wish.kinds:
            methods = list(wish.settings)
            makers[("-".join(methods) if len(methods) < 4 else f"{len(methods)}-methods") + ".png"] = self._overlay
            if wish.arrays:
                makers |= {f"{method}.npy": self._array_of(row) for row, method in enumerate(wish.settings)}
        if "heads" in wish.kinds:
            makers["heads.png"] = self._heads
            if wish.arrays:
                makers["heads.npy"] = self._heads_array
        if "growth" in wish.kinds:
            makers["growth.png"] = self._growth
            makers[f"growth.{wish.film}"] = self._film
            if wish.arrays:
                makers["growth.npy"] = self._growth_array
        if "html" in wish.kinds:
            makers["attention.html"] = self._page
        return makers

    def files(self, base: Path) -> list[Path]:
        """Everything that is written of the image of this name."""
        endings = [*self.makers, *(ending[:-3] + "json" for ending in self.makers if ending.endswith(".npy"))]
        return [base.with_name(f"{base.name}.{ending}") for ending in endings]

    def works(self, pictures: Iterable[tuple[str, Image.Image]]) -> Iterable[Work]:
        """The images, ready to be drawn. Where all share a scale, they are all explained first, and held."""
        works = (Work(path, picture, self.predictor, self.wish) for path, picture in pictures)
        if not self.wish.shared_scale or "overlay" not in self.wish.kinds:
            return works
        held = list(works)
        if held:
            self._share_scales(held)
        return held

    def _share_scales(self, works: Sequence[Work]) -> None:
        """Give all maps of a method one scale, of all images and classes."""
        for row, method in enumerate(self.wish.settings):
            every = [one for work in works for one in work.maps[row]]
            maps = [one.maps[0].cpu().numpy() for one in every]
            scale = Scale.of(maps, signed=every[0].signed, unit=every[0].unit)
            self.shared[method] = scale, f"one scale for all {len(maps)} maps" if len(maps) > 1 else OWN

    def draw(self, work: Work, base: Path) -> list[Path]:
        """Write the files of one image; returns their paths."""
        files = {base.with_name(f"{base.name}.{ending}"): make for ending, make in self.makers.items()}
        for file, make in files.items():
            make(work, file)
        return list(files)

    def _overlay(self, work: Work, file: Path) -> None:
        rows = [[self._map(work, one) for one in row] for row in work.maps]
        if all(len(row) == 1 for row in rows):  # several methods, one class: side by side
            rows = _in_even_rows([one for row in rows for one in row])
        captions = [f"{Path(work.path).name}, as the model saw it. {_about_overlay(self.wish.look)}"]
        captions += [_about(row[0]) for row in work.maps]
        draw(work.picture, rows, work.title, "\n".join(captions), self.wish.look).save(file)

    def _map(self, work: Work, one: Explanation) -> Map:
        scores = one.maps[0]
        own = Scale.of([scores.cpu().numpy()], signed=one.signed, unit=one.unit), OWN
        scale, scope = self.shared.get(one.name, own)
        return Map(
            scores=scores,
            method=one.name,
            target=work.class_of(int(one.target[0])),
            class_specific=one.class_specific,
            scale=scale,
            scope=scope,
        )

    def _array_of(self, row: int) -> Callable[[Work, Path], None]:
        def save(work: Work, file: Path) -> None:
            found = work.maps[row]
            numbers = np.concatenate([one.maps.cpu().numpy() for one in found])
            about = {
                "axes": ["class", "row", "column"],
                "method": found[0].name,
                "described": found[0].method,
                "class_specific": found[0].class_specific,
                "signed": found[0].signed,
                "unit": found[0].unit,
                "classes": [
                    {
                        "index": int(one.target[0]),
                        "class": self.predictor.card.label(int(one.target[0])),
                        "probability": float(work.probabilities[int(one.target[0])]),
                    }
                    for one in found
                ],
            }
            self._save(numbers, file, work, about)

        return save

    def _heads(self, work: Work, file: Path) -> None:
        maps = head_maps(work.seen)[0].cpu().numpy()
        scale = (
            "One scale for all, below."
            if self.wish.shared_scale
            else "Each map has its own scale, from 0 (dark) to the share that stands under it (bright)."
        )
        caption = (
            f"{Path(work.path).name}: what {_reader(self.predictor)} attends to, in each layer and head; layer 0 is "
            f"nearest the image. {scale} The same for every class."
        )
        draw_heads(work.picture, maps, work.title, caption, shared_scale=self.wish.shared_scale).save(file)

    def _heads_array(self, work: Work, file: Path) -> None:
        about = {"axes": ["layer", "head", "row", "column"], "method": "attention", "unit": "share"}
        self._save(head_maps(work.seen)[0].cpu().numpy(), file, work, about)

    def _grown(self, work: Work) -> Shaped[np.ndarray, ...]:
        return growth(work.seen, **self.wish.growth)[0].cpu().numpy()

    def _growth(self, work: Work, file: Path) -> None:
        caption = (
            f"{Path(work.path).name}: attention rollout up to each layer (Abnar & Zuidema 2020), as if the model ended "
            "there. The same for every class: it says where the model looked, not what for."
        )
        start = self.wish.growth.get("start_layer", 0)
        draw_growth(work.picture, self._grown(work), work.title, caption, self.wish.look, start).save(file)

    def _film(self, work: Work, file: Path) -> None:
        start = self.wish.growth.get("start_layer", 0)
        frames = film_frames(work.picture, self._grown(work), work.title, self.wish.look, start)
        save_film(frames, file, self.wish.film)

    def _growth_array(self, work: Work, file: Path) -> None:
        about = {"axes": ["layer", "row", "column"], "method": "rollout", "unit": "share", **self.wish.growth}
        self._save(self._grown(work), file, work, about)

    def _page(self, work: Work, file: Path) -> None:
        page = draw_page(
            work.picture,
            rearrange(work.seen.attention, "layers 1 heads i j -> layers heads i j"),
            prefix_names(self.predictor),
            work.seen.grid,
            work.title,
            f"{Path(work.path).name}: what each patch attends to, in every layer",
        )
        save_page(page, file)

    def _save(self, numbers: Shaped[np.ndarray, ...], file: Path, work: Work, about: Mapping[str, Any]) -> None:
        likeliest = int(work.probabilities.argmax())
        said = {"class": self.predictor.card.label(likeliest), "probability": float(work.probabilities[likeliest])}
        least, greatest = float(numbers.min()), float(numbers.max())
        save_array(
            numbers, file, {"image": work.path, "predicted": said, **about, "least": least, "greatest": greatest}
        )


def prefix_names(predictor: Predictor) -> tuple[str, ...]:
    """What the tokens before the patches are called."""
    config = predictor.model.config
    named = ["class token"] * config.class_token + ["distillation token"] * config.distilled
    return (*named, *(f"register {number}" for number in range(1, config.num_register_tokens + 1)))


def _in_even_rows(maps: list[Map], most: int = 4) -> list[list[Map]]:
    """Rows of nearly the same length."""
    count = -(-len(maps) // -(-len(maps) // most))
    return [maps[start : start + count] for start in range(0, len(maps), count)]


def _reader(predictor: Predictor) -> str:
    """Whose attention leads to the prediction."""
    config = predictor.model.config
    readers = {"cls": "the class token", "mean": "the average patch", "map": "what the head's query picks"}
    return "the mean of class and distillation token" if config.distilled else readers[config.pool]


def _about(one: Explanation) -> str:
    """What a map is and what it says."""
    held = f" All patches have {100 * float(one.maps.sum()):.0f} % together." if one.unit == "share" else ""
    return f"{one.name}: {one.method}. {one.claim}{held}"


def _about_overlay(look: Look) -> str:
    smooth = ", smoothed between the middles of patches" if look.smooth else ""
    return f"Maps lie over greys at {100 * look.opacity:.0f} % opacity{smooth}; the bar has the full colours."
