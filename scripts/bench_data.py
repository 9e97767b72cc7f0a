"""How fast images come: ours, timm's and torchvision's pipelines side by side, in one process, one thread.

    python scripts/bench_data.py [--photographs FOLDER] [--rounds 7] [--output docs/results/bench-data.md]
    python scripts/bench_data.py --device cuda [--output docs/results/bench-data-gpu.md]

Photographs are 500 x 375 JPEGs of quality 90, made of those in FOLDER or of smooth noise in a temporary folder; each
pipeline decodes, crops at random, mirrors and ends in what it hands to the device, those with a cache in their second
and later epochs. Ours reads JPEG files by simplejpeg, and by Pillow alone. Small images are 32 x 32, of random pixels;
each pipeline ends in a batch of 128 on the training device. The pipelines take turns within every round, so that other
work on the machine slows all of them; figures are medians, ratios medians of the rounds' ratios with their quartiles.
On a GPU only small images are measured, which are held and changed there; photographs are read by the processor
wherever one trains.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import timm
import timm.data
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from vit.data.augment import Augmentation
from vit.data.cache import Form, open_cache
from vit.data.held import HeldReader
from vit.data.mix import mix_batch
from vit.data.on_device import augment_batch
from vit.data.order import BatchKey, ImageKey, Order
from vit.data.photographs import Photographs
from vit.data.preprocess import normalise
from vit.nn import Preprocessing, create_model

PHOTOGRAPHS, SMALL, BATCH, HELD, DEPTH = 48, 6400, 128, 50_000, 9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Pipeline = Callable[[], int]
"""One pass; the number of images that came."""


class Steps(NamedTuple):
    """How a training step is measured."""

    batches: tuple[int, ...]
    """Images in a batch."""
    steps: int
    """Whose time is taken together."""
    rounds: int
    backend: str | None = None
    """Of torch.compile, in bf16; None: not compiled, in fp32."""
    by_difference: bool = False
    """On a device that works while the processor does: what a step takes longer than one with the same batch again."""


STEPS = {"cpu": Steps((128,), 1, 2), "cuda": Steps((128, 512), 50, 5, "inductor", by_difference=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and perhaps write the tables, each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="folder of photographs; without it they are made of noise")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where small images are held")
    parser.add_argument("--no-compile", action="store_true", help="on a GPU, where no compiler is there")
    parser.add_argument("--output", type=Path, help="Markdown file for the tables")
    args = parser.parse_args(arguments)
    if args.rounds < 2:
        parser.error(f"--rounds {args.rounds} must be at least 2, for quartiles")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda, but torch sees no GPU here")
    torch.set_num_threads(1)
    device, steps = torch.device(args.device), STEPS[args.device]
    if args.no_compile:
        steps = steps._replace(backend=None)
    report = ""
    for part in measured(device, args.photographs, args.rounds, steps):
        print(part, flush=True)
        report += part + "\n"
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(report, encoding="utf-8")


def measured(device: torch.device, photographs: Path | None, rounds: int, steps: Steps) -> Iterator[str]:
    """The report, part by part."""
    yield heading(device, steps)
    if device.type == "cpu":
        yield of_photographs(photographs, rounds)
    speeds = take_turns(small_pipelines(device), rounds, device)
    yield f"## Small images: 32 x 32, batches of {BATCH}, images/s\n\n{table(speeds, 'DataLoader, crop + flip')}\n"
    title = "## What loading takes of a training step of a ViT of 4.0 M parameters (patch 4, width 192, 9 blocks)"
    yield f"{title}\n\n| images in a batch, changes | step, ms | of which loading |\n|---|--:|--:|"
    yield from shares_of_a_step(device, steps)


def of_photographs(originals: Path | None, rounds: int) -> str:
    """The table of files."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_photographs(Path(folder), originals)
        size = sum(file.stat().st_size for file in files) / len(files) / 1024
        title = f"## Photographs: 500 x 375 JPEG of {size:.0f} KB to 224 x 224, images/s of one worker"
        speeds = take_turns(photograph_pipelines(files), rounds, torch.device("cpu"))
        return f"{title}\n\n{table(speeds, 'timm')}\n"


def make_photographs(folder: Path, originals: Path | None) -> list[Path]:
    """JPEG files of one size, as ImageNet's are on average."""
    found = (
        sorted(path for path in originals.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"}) if originals else []
    )
    for number in range(PHOTOGRAPHS):
        if found:
            picture = Image.open(found[number % len(found)]).convert("RGB")
        else:
            noise = np.random.default_rng(number).integers(0, 256, (47, 63, 3), dtype=np.uint8)
            picture = Image.fromarray(noise)
        picture.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    return [folder / f"{number}.jpg" for number in range(PHOTOGRAPHS)]


def with_blocks(number: int, pipeline: Pipeline) -> Pipeline:
    """A pipeline while Pillow keeps the memory of so many pictures."""

    def run() -> int:
        Image.core.set_blocks_max(number)
        return pipeline()

    return run


def by_pillow(pipeline: Pipeline) -> Pipeline:
    """A pipeline of ours without simplejpeg."""

    def run() -> int:
        with patch("vit.data.jpeg._simplejpeg", return_value=None):
            return pipeline()

    return run


def photograph_pipelines(files: list[Path]) -> dict[str, Pipeline]:
    """Random-resized crop and flip, alone and with RandAugment."""
    spec = Preprocessing(image_size=(224, 224), mean=MEAN, std=STD)
    labels = torch.zeros(len(files), dtype=torch.long)

    kept = Image.core.get_blocks_max()  # ours lets Pillow keep memory, which is no default of Pillow's

    def of_pictures(transform: Any) -> Pipeline:
        return with_blocks(0, lambda: len([transform(Image.open(file).convert("RGB")) for file in files]))

    def ours(**changes: Any) -> Pipeline:
        data = Photographs(files, labels, spec, Augmentation(crop_scale=(0.08, 1.0), flip=0.5, **changes))
        return with_blocks(kept, lambda: len([data[ImageKey(0, 0, number)] for number in range(len(files))]))

    def cached(caching: Any) -> Pipeline:
        change, form = Augmentation(crop_scale=(0.08, 1.0), flip=0.5), Form(spec, round(1.15 * 224))
        cache, _ = open_cache(caching, files, form, files[0].parent / "kept", "training")
        data = Photographs(files, labels, spec, change, cache=cache, form=form)
        return with_blocks(kept, lambda: len([data[ImageKey(0, 0, number)] for number in range(len(files))]))

    def with_policy(policy: Any) -> Pipeline:
        data = Photographs(files, labels, spec, Augmentation(crop_scale=(0.08, 1.0), flip=0.5))
        change = Augmentation(policy=policy)

        def one_pass() -> int:
            batch = torch.stack([data[ImageKey(0, 0, number)][0] for number in range(len(files))])
            return len(augment_batch(batch, change, BatchKey(0, 0, 0)))

        return with_blocks(kept, one_pass)

    ending = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pil = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *ending])
    settings: dict[str, Any] = {"is_training": True, "interpolation": "bilinear", "color_jitter": None}
    rand = "rand-m9-n2"
    return {
        "timm": of_pictures(timm.data.create_transform(224, auto_augment=None, **settings)),
        "torchvision on Pillow's pictures": of_pictures(pil),
        "ours": ours(),
        "ours, without simplejpeg": by_pillow(ours()),
        "ours, data.cache=ram": cached("ram"),
        "ours, data.cache=disk": cached("disk"),
        "decoding alone": of_pictures(lambda picture: picture),
        "timm, RandAugment": of_pictures(timm.data.create_transform(224, auto_augment=rand, **settings)),
        "ours, RandAugment on the batch, same thread": with_policy("randaugment"),
    }


class SmallImages(Dataset[Any]):
    """A tensor, changed image by image, as people write it."""

    def __init__(self, images: torch.Tensor, transform: Any) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), 0


def small_pipelines(device: torch.device) -> dict[str, Pipeline]:
    """Shift by 4 pixels and flip, and more, by a DataLoader without workers and by lookup."""
    images = torch.randint(0, 256, (SMALL, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(SMALL) % 10
    spec = Preprocessing(image_size=(32, 32), mean=MEAN, std=STD)
    order = Order(num_images=SMALL, batch_size=BATCH)
    crop = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
    ending = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]

    def loader(*changes: Any) -> Pipeline:
        data = DataLoader(SmallImages(images, v2.Compose([*crop, *changes, *ending])), batch_size=BATCH, shuffle=True)
        return lambda: sum(len(batch.to(device)) for batch, _ in data)

    def held(floats: bool = True, **changes: Any) -> Pipeline:
        change = Augmentation(shift=4, flip=0.5, **changes)
        reader = HeldReader(images, labels, device, change)

        def one_pass() -> int:
            images_seen = 0
            for number, (batch, targets) in enumerate(reader.read(order, 0, 0)):
                key = BatchKey(0, 0, number)
                if floats:
                    ready = normalise(augment_batch(batch, reader.left, key), spec)
                    mix_batch(ready, targets, reader.left, 10, key)
                images_seen += len(batch)
            return images_seen

        return one_pass

    return {
        "DataLoader, crop + flip": loader(),
        "ours, crop + flip": held(),
        "ours, crop + flip, before normalisation": held(floats=False),
        "ours, crop + flip + mixup/CutMix": held(mixup=0.8, cutmix=1.0),
        "DataLoader, crop + flip + TrivialAugment": loader(v2.TrivialAugmentWide()),
        "ours, crop + flip + TrivialAugment": held(policy="trivial"),
        "DataLoader, crop + flip + RandAugment": loader(v2.RandAugment()),
        "ours, crop + flip + RandAugment": held(policy="randaugment"),
    }


def take_turns(pipelines: dict[str, Pipeline], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Images a second of every pipeline in every round."""
    for pipeline in pipelines.values():
        pipeline()
    speeds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            start = clock(device)
            images = pipeline()
            speeds[name].append(images / (clock(device) - start))
    return speeds


def clock(device: torch.device) -> float:
    """Seconds: of this process on the processor, or until a GPU has done all it was told to."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def table(speeds: dict[str, list[float]], baseline: str) -> str:
    """Markdown: median speed, and how many times the baseline's."""
    lines = [f"| pipeline | images/s | times {baseline} (quartiles) |", "|---|--:|--:|"]
    for name, values in speeds.items():
        ratios = [value / other for value, other in zip(values, speeds[baseline], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(f"| {name} | {statistics.median(values):,.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def shares_of_a_step(device: torch.device, steps: Steps) -> Iterator[str]:
    """What loading takes of a training step: of the processor's time, or of the time until the device is done."""
    settings: dict[str, Any] = {"image_size": 32, "patch_size": 4, "depth": DEPTH, "num_classes": 10}
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", **settings).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    if steps.backend is not None:
        model.compile(dynamic=False, backend=steps.backend)
    for batch, (name, changes) in product(steps.batches, CHANGES.items()):
        load = batches(Augmentation(shift=4, flip=0.5, **changes), batch, device)
        ready = load()

        def train(make: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
            """Seconds a step, and of them those in which the processor made the batch."""
            loading, start = 0.0, clock(device)
            for _ in range(steps.steps):
                before = time.process_time()
                images, targets = make()
                loading += time.process_time() - before
                with torch.autocast(device.type, torch.bfloat16, enabled=steps.backend is not None):
                    loss = torch.nn.functional.cross_entropy(model(images), targets)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            return (clock(device) - start) / steps.steps, loading / steps.steps

        train(load)
        seconds, shares = [], []
        for _ in range(steps.rounds):
            step, loading = train(load)
            if steps.by_difference:
                loading = step - train(lambda ready=ready: ready)[0]
            seconds.append(step)
            shares.append(loading / step)
        yield f"| {batch}, {name} | {1e3 * statistics.median(seconds):.2f} | {statistics.median(shares):.1%} |"


CHANGES: dict[str, dict[str, Any]] = {
    "crop + flip": {},
    "crop + flip + mixup/CutMix": {"mixup": 0.8, "cutmix": 1.0},
    "crop + flip + TrivialAugment + mixup": {"policy": "trivial", "mixup": 0.8},
    "crop + flip + RandAugment + erasing + mixup/CutMix": {
        "policy": "randaugment",
        "erase": 0.25,
        "mixup": 0.8,
        "cutmix": 1.0,
    },
}


def batches(change: Augmentation, size: int, device: torch.device) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """A function that makes the next training batch."""
    images = torch.randint(0, 256, (HELD, 3, 32, 32), dtype=torch.uint8)
    spec = Preprocessing(image_size=(32, 32), mean=MEAN, std=STD)
    reader = HeldReader(images, torch.arange(len(images)) % 10, device, change)
    order = Order(num_images=len(images), batch_size=size)
    keys = (BatchKey(0, epoch, number) for epoch in count() for number in range(len(order)))
    read = (batch for epoch in count() for batch in reader.read(order, epoch, 0))

    def load() -> tuple[torch.Tensor, torch.Tensor]:
        (taken, labels), key = next(read), next(keys)
        return mix_batch(normalise(augment_batch(taken, reader.left, key), spec), labels, reader.left, 10, key)

    return load


def heading(device: torch.device, steps: Steps) -> str:
    """Where and with what it was measured."""
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"
    if device.type == "cuda":
        where = f"`python scripts/bench_data.py --device cuda`, {torch.cuda.get_device_name(device)}, {versions}"
        how = "fp32, not compiled" if steps.backend is None else "bf16, compiled"
        return f"# How fast images come on a GPU\n\n{where}. Steps in {how}.\n"
    quick = f"simplejpeg {version('simplejpeg')}" if find_spec("simplejpeg") else "no simplejpeg"
    return (
        f"# How fast images come\n\n`python scripts/bench_data.py`, one thread, {platform.machine()}, {versions},\n"
        f"Pillow {Image.__version__}, {quick}. CPU seconds of this process; other work counts by the caches it takes.\n"
    )


if __name__ == "__main__":
    main()
