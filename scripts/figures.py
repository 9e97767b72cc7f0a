"""The pictures of the documentation: docs/gallery.md with docs/images/, and the digits at the top of the README.

    python scripts/figures.py --weights PATH/vit_tiny_patch16_224
    python scripts/figures.py --digits runs/digits/model
    python scripts/figures.py --curves explanations/faithfulness.png faithfulness-cifar10

The first draws the gallery with a ViT-Ti/16 of ImageNet: every picture is what the command above it writes, kept as
WebP. The photographs come with packages that are installed anyway:

    grace_hopper.jpg        matplotlib, sample_data: US Navy, public domain
    china.jpg, flower.jpg   scikit-learn, datasets/images: CC BY 2.0, "Some rights reserved by danielbuechele" by its
                            README.txt, from https://www.flickr.com/photos/danielbuechele/6061409035 and
                            https://www.flickr.com/photos/vultilion/6056698931

The second takes the model of `vit fit --config configs/digits.yaml`; its digits are test images that the model has
not seen. The third keeps what `vit explain --evaluate` has drawn, under the name that a page shows.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import Any

from einops import rearrange
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageSequence

from vit.cli import main as vit
from vit.data.preprocess import normalise
from vit.data.sources import digits
from vit.explain import explain
from vit.explain.draw.scale import Scale, enlarge
from vit.explain.draw.sheet import GREY, HEADING, MARGIN, Sheet
from vit.weights import load_model, read_card

DOCS = Path(__file__).resolve().parents[1] / "docs"

QUALITY = 80
"""Of photographs, in the sense of WebP; their squares and letters stay clear."""

SHOWN = range(10)
SIDE = 104


@dataclass(frozen=True)
class Picture:
    """One picture of the gallery."""

    name: str
    heading: str
    words: str
    photos: str
    flags: str
    written: str
    """Ending of the file that is shown, of those that the command writes."""


GALLERY = [
    Picture(
        "rollout",
        "One map",
        "What the model saw, the map over it, and the map alone with its scale. It looked most at the face, and "
        "says uniform: rollout is of where a model looked, not of what for. The colours run from 0 to the greatest "
        "score, which is written at the end of the bar, so nothing is clipped; they differ in lightness, so they read "
        "in grey and to the colour-blind.",
        "grace_hopper.jpg",
        "",
        ".rollout.png",
    ),
    Picture(
        "smooth",
        "Smooth",
        "The same scores, run into each other between the middles of the patches: easier on the eye, and no truer.",
        "grace_hopper.jpg",
        "--smooth --opacity 0.5",
        ".rollout.png",
    ),
    Picture(
        "methods",
        "Methods side by side",
        "Under each name stands whether the map is of a class or the same for all. Maps that can speak against a class "
        "have white for 0, red for and blue against. The methods do not agree: rollout lights up the face, chefer the "
        "band of the cap and the mouth, one Grad-CAM the corners, the other the flag; covered patches lower the score "
        "of the uniform most on the jacket and at the edges of the cap. A picture does not say which to believe: "
        "measure it.",
        "grace_hopper.jpg",
        "--method rollout chefer attention_gradcam token_gradcam occlusion integrated_gradients",
        ".6-methods.png",
    ),
    Picture(
        "classes",
        "Classes side by side",
        "The three likeliest classes in one scale, so that colours can be compared between them; without "
        "`--shared-scale` each map has its own, and says so. For a pickelhaube, a helmet, the badge of the cap "
        "counts most; for a bearskin, a hat of black fur, its dark band. `--target 'military uniform' bearskin` names "
        "classes.",
        "grace_hopper.jpg",
        "--method chefer --top-k 3 --shared-scale",
        ".chefer.png",
    ),
    Picture(
        "heads",
        "Every head of every layer",
        "What the class token attends to. Some heads trace the rim of the flower, some its heart. The last layers send "
        "much of their attention to the four corners, which hold next to nothing of it: patches used as scratch paper, "
        "as Darcet et al. 2024 found. (ImageNet has no dahlia; the model says vase, and is not sure.)",
        "flower.jpg",
        "--heads",
        ".heads.png",
    ),
    Picture(
        "growth",
        "How the rollout grows",
        "After every layer, as if the model ended there, all in one scale. From layer 5 on the heart of the flower "
        "comes out, from layer 7 on the corners, which end brightest.",
        "flower.jpg",
        "--growth --film webp",
        ".growth.png",
    ),
    Picture(
        "film",
        "The same as a film",
        "Of the same command; `--film gif` opens anywhere, WebP has the truer colours.",
        "flower.jpg",
        "--growth --film webp",
        ".growth.webp",
    ),
    Picture(
        "xray",
        "The model inside",
        "After figure 7 of Dosovitskiy et al. 2021. Positions have learned rows and columns; the first filters are "
        "stripes, a fine chequer and blobs of colour. Below are means over all three photographs, few for means but "
        "enough to see it: early heads look near and far, those from layer 9 on farther than attention spread evenly "
        "would. What a model does not have is left out, and the page says so.",
        "grace_hopper.jpg china.jpg flower.jpg",
        "--xray",
        "xray.png",
    ),
]


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="model folder of the ViT-Ti/16")
    parser.add_argument("--digits", type=Path, help="model folder of a run on digits")
    parser.add_argument("--curves", nargs=2, metavar=("PNG", "NAME"), help="faithfulness.png, and its name in the docs")
    args = parser.parse_args()
    if args.digits:
        draw_digits(args.digits)
    if args.weights:
        draw_gallery(args.weights)
    if args.curves:
        keep_curves(Path(args.curves[0]), DOCS / "images" / f"{args.curves[1]}.webp")
    if not (args.digits or args.weights or args.curves):
        parser.error("give --weights, --digits or --curves")


def draw_gallery(weights: Path) -> None:
    """Run the command of every picture, keep what it shows, and write the page about them."""
    photos, parts = photographs(), [INTRODUCTION]
    for picture in GALLERY:
        paths, flags = [photos[name] for name in picture.photos.split()], shlex.split(picture.flags)
        with tempfile.TemporaryDirectory() as drawn:
            if vit(["explain", *paths, "--model", str(weights), "--output", drawn, *flags]):
                sys.exit(f"error: {picture.name} could not be drawn")
            (file,) = (path for path in Path(drawn).iterdir() if path.name.endswith(picture.written))
            keep(file, DOCS / "images" / f"{picture.name}.webp")
        command = f"vit explain {picture.photos} --model MODEL {picture.flags}".rstrip()
        parts.append(
            f"## {picture.heading}\n\n{fill(picture.words, 115, break_on_hyphens=False)}\n\n```bash\n{command}\n```\n\n"
            f"![{picture.heading}: the picture that this command draws](images/{picture.name}.webp)\n"
        )
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def photographs() -> dict[str, str]:
    """Names of the photographs, and where the packages have them."""
    of_sklearn = {name: str(files("sklearn.datasets.images") / name) for name in ("china.jpg", "flower.jpg")}
    return {"grace_hopper.jpg": str(get_sample_data("grace_hopper.jpg", asfileobj=False)), **of_sklearn}


INTRODUCTION = """# Gallery

Made by `scripts/figures.py`, of a ViT-Ti/16 trained on ImageNet and three photographs that come with this package's
dependencies, so that anybody can draw it again. What the methods are, and how far to trust them, is in
[explanation.md](explanation.md).

- `grace_hopper.jpg`, from matplotlib: Rear Admiral Grace Hopper, US Navy, public domain.
- `china.jpg` and `flower.jpg`, from scikit-learn: [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/), "Some
  rights reserved by danielbuechele" for both, as its `sklearn/datasets/images/README.txt` says. It has china.jpg from
  [danielbuechele](https://www.flickr.com/photos/danielbuechele/6061409035) and flower.jpg from the page of
  [vultilion](https://www.flickr.com/photos/vultilion/6056698931). Here they are cut to a square and drawn over.
"""


def keep(file: Path, target: Path) -> None:
    """As WebP, a picture without loss where that takes less, as it does where there are more lines than photographs."""
    with Image.open(file) as picture:
        if getattr(picture, "is_animated", False):
            frames = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(picture)]
            others, durations = [frame for frame, _ in frames[1:]], [duration for _, duration in frames]
            options = {"save_all": True, "append_images": others, "duration": durations, "loop": 0}
            candidates = [written(frames[0][0], quality=QUALITY, **options)]
        else:
            candidates = [written(picture, quality=QUALITY), written(picture, quality=100, lossless=True)]
    store(min(candidates, key=len), target)


def keep_curves(file: Path, target: Path) -> None:
    """Lines and letters as WebP of 64 colours, which their soft edges need."""
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    store(written(few.convert("RGB"), quality=100, lossless=True), target)


def store(content: bytes, target: Path) -> None:
    """Write a picture of the documentation, and say how large it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    print(f"{target.relative_to(DOCS.parent)}  {len(content) / 1000:.0f} kB")


def written(picture: Image.Image, **options: Any) -> bytes:
    """The bytes of a WebP file."""
    content = io.BytesIO()
    picture.save(content, format="webp", method=6, **options)
    return content.getvalue()


def draw_digits(folder: Path) -> None:
    """Ten digits, and below each where the model looked."""
    model, card = load_model(folder), read_card(folder)
    test = digits(Path()).test
    assert test is not None
    images = test.images[[test.labels.tolist().index(label) for label in SHOWN]]
    explanation = explain(model, normalise(images, card.preprocessing))
    gap = 16
    sheet = Sheet(2 * MARGIN + len(SHOWN) * (SIDE + gap) - gap)
    for column in SHOWN:
        left = MARGIN + column * (SIDE + gap)
        target = int(explanation.target[column])
        sheet.text(card.classes[target], left, MARGIN, SIDE, size=HEADING, align="centre", bold=True)
        below = MARGIN + round(1.35 * HEADING)
        probability = f"{100 * float(explanation.probabilities[column, target]):.1f} %"
        below = sheet.text(probability, left, below, SIDE, align="centre", colour=GREY)
        pixels = rearrange(images[column].numpy(), "1 h w -> h w 1").repeat(3, axis=-1)
        times = SIDE // len(pixels)
        below = sheet.picture(pixels.repeat(times, axis=0).repeat(times, axis=1), left, below + 4)
        scores = explanation.maps[column].numpy()
        scale = Scale.of([scores])
        below = sheet.picture(scale.colours(enlarge(scores, (SIDE, SIDE))), left, below + 10)
        sheet.text(f"to {scale.number(scale.greatest)}", left, below + 2, SIDE, align="centre", colour=GREY)
    words = (
        "Test digits of 8x8 pixels with the predicted class, and the attention rollout of each 2x2 patch: dark is 0, "
        "the brightest is the share that stands below."
    )
    bottom = sheet.text(words, MARGIN, below + 32, sheet.width - 2 * MARGIN, colour=GREY)
    assert bottom
    sheet.save(DOCS / "images" / "digits-rollout.png")


if __name__ == "__main__":
    main()
