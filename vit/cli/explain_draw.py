"""One image -> its pictures, for `vit explain`: each kind with its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

from einops import rearrange
from PIL import Image

from vit.cli.explain_arrays import save_growth, save_heads, save_maps
from vit.cli.explain_work import Wish, Work
from vit.explain import Explanation
from vit.explain.draw.growth import draw_growth, film_frames, save_film
from vit.explain.draw.heads import draw_heads
from vit.explain.draw.overlay import OWN, Map, draw
from vit.explain.draw.page import draw_page, save_page
from vit.explain.draw.scale import Look, Scale
from vit.predict import Predictor


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
                makers |= {f"{method}.npy": partial(save_maps, row=row) for row, method in enumerate(wish.settings)}
        if "heads" in wish.kinds:
            makers["heads.png"] = self._heads
            if wish.arrays:
                makers["heads.npy"] = save_heads
        if "growth" in wish.kinds:
            makers["growth.png"] = self._growth
            makers[f"growth.{wish.film}"] = self._film
            if wish.arrays:
                makers["growth.npy"] = save_growth
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

    def _heads(self, work: Work, file: Path) -> None:
        scale = (
            "One scale for all, below."
            if self.wish.shared_scale
            else "Each map has its own scale, from 0 (dark) to the share that stands under it (bright)."
        )
        caption = (
            f"{Path(work.path).name}: what {_reader(self.predictor)} attends to, in each layer and head; layer 0 is "
            f"nearest the image. {scale} The same for every class."
        )
        draw_heads(work.picture, work.heads, work.title, caption, shared_scale=self.wish.shared_scale).save(file)

    def _growth(self, work: Work, file: Path) -> None:
        caption = (
            f"{Path(work.path).name}: attention rollout up to each layer (Abnar & Zuidema 2020), as if the model ended "
            "there. The same for every class: it says where the model looked, not what for."
        )
        start = self.wish.growth.get("start_layer", 0)
        draw_growth(work.picture, work.grown, work.title, caption, self.wish.look, start).save(file)

    def _film(self, work: Work, file: Path) -> None:
        start = self.wish.growth.get("start_layer", 0)
        frames = film_frames(work.picture, work.grown, work.title, self.wish.look, start)
        save_film(frames, file, self.wish.film)

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
