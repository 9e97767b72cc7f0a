"""Forward and training step of ours against the other libraries' ViT of the same shape, side by side in one process.

    python scripts/bench.py                                  # all cells, into docs/results/bench-backbone.md
    python scripts/bench.py --only Ti --batch 8 --rounds 9   # a few of them, printed alone

Every round runs each contestant for at least 0.2 s, in a new order; what counts is the median over the rounds of the
ratio to timm in the same round, with the quartiles beside it. Absolute figures drift with the machine, ratios within a
round hardly do. "Against the best" is ours against the one of the others with the best median ratio to timm; not
against the luckiest of each round, which is faster than any of them is. All contestants train with the same fused
AdamW, cross entropy and, in bf16, autocast, in a process that keeps the memory it frees, as `vit fit` does. SimpleViT
has no class token and no biases of queries, keys and values: it is set against ours without them. The share of the peak
is achieved FLOP/s (2 for a multiplication with its addition, counted on timm's model) over the best of a matrix product
of 2048 x 2048 (on a GPU 8192 x 8192) measured in the same process.

The peers are in the `bench` extra: pip install -e ".[bench]".
"""

from __future__ import annotations

import argparse
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vit import ViT, ViTConfig
from vit.train.memory import keep_freed_memory
from vit.weights.timm import ARCHITECTURE_OF_ANY_SHAPE, timm_arguments

REFERENCE = "timm"
SAMPLE = 0.2
"""Seconds that one measurement lasts at least."""


@dataclass(frozen=True)
class Shape:
    """A model that all libraries can build."""

    name: str
    image_size: int
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    num_classes: int
    batches: tuple[int, ...]
    batches_on_gpu: tuple[int, ...]

    def config(self, **changes: Any) -> ViTConfig:
        """The same in our words."""
        own = ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")
        return ViTConfig(**{name: getattr(self, name) for name in own}, **changes)


SHAPES = (
    Shape("Ti/16", 224, 16, 192, 12, 3, 1000, (1, 8, 32), (32, 256)),
    Shape("S/16", 224, 16, 384, 12, 6, 1000, (1, 8, 32), (32, 256)),
    Shape("32px/4", 32, 4, 192, 9, 3, 10, (128,), (128, 1024)),
)


def ours(shape: Shape) -> nn.Module:
    """The contestant at home."""
    return ViT(shape.config())


def ours_without_class_token(shape: Shape) -> nn.Module:
    """What SimpleViT is: mean of the patches, fixed positions, no biases in attention."""
    model = ViT(shape.config(class_token=False, pool="mean", positions="sincos2d", qkv_bias=False))
    for block in model.blocks:
        block.attn.proj.register_parameter("bias", None)
    return model


def timm(shape: Shape) -> nn.Module:
    """huggingface/pytorch-image-models."""
    import timm

    return timm.create_model(ARCHITECTURE_OF_ANY_SHAPE, **timm_arguments(shape.config()))


def vit_pytorch(shape: Shape) -> nn.Module:
    """lucidrains/vit-pytorch ViT."""
    from vit_pytorch import ViT as Theirs

    return Theirs(**_lucidrains(shape))


def simple_vit(shape: Shape) -> nn.Module:
    """lucidrains/vit-pytorch SimpleViT, without class token."""
    from vit_pytorch import SimpleViT

    return SimpleViT(**_lucidrains(shape))


def torchvision(shape: Shape) -> nn.Module:
    """The VisionTransformer of pytorch/vision."""
    from torchvision.models import VisionTransformer

    sizes = (shape.image_size, shape.patch_size, shape.depth, shape.num_heads, shape.embed_dim, 4 * shape.embed_dim)
    return VisionTransformer(*sizes, num_classes=shape.num_classes)


def transformers(shape: Shape) -> nn.Module:
    """ViTForImageClassification of huggingface/transformers, with its default attention (SDPA)."""
    from transformers import ViTConfig as TheirConfig
    from transformers import ViTForImageClassification

    config = TheirConfig(
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        hidden_size=shape.embed_dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.num_heads,
        intermediate_size=4 * shape.embed_dim,
        num_labels=shape.num_classes,
    )
    return _Logits(ViTForImageClassification(config))


CONTESTANTS: tuple[Callable[[Shape], nn.Module], ...] = (
    ours,
    timm,
    vit_pytorch,
    torchvision,
    transformers,
    ours_without_class_token,
    simple_vit,
)
PEERS = [build.__name__ for build in CONTESTANTS if build not in {ours, timm, ours_without_class_token}]


class _Logits(nn.Module):
    """transformers' model with plain logits for an output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def _lucidrains(shape: Shape) -> dict[str, int]:
    return {
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
        "num_classes": shape.num_classes,
        "dim": shape.embed_dim,
        "depth": shape.depth,
        "heads": shape.num_heads,
        "mlp_dim": 4 * shape.embed_dim,
        "dim_head": shape.embed_dim // shape.num_heads,
    }


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    shape: Shape
    batch: int
    training: bool
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return f"{self.shape.name} B{self.batch} {'train' if self.training else 'forward'} {_short(self.dtype)}"


def main() -> None:
    """Run the cells and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="shapes whose name begins so")
    parser.add_argument("--batch", type=int, nargs="+", help="these batch sizes alone")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), help="this number type alone")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="beside timm; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cpu-time", action="store_true", help="count the time of this process alone, beside others")
    parser.add_argument("--compile", action="store_true", help="compile every contestant first")
    parser.add_argument("--output", type=Path, help="Markdown file; default: only where all cells are run")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    whole = len(sys.argv) == 1
    output = args.output or (Path("docs/results/bench-backbone.md") if whole else None)
    peaks = {dtype: peak_flops(dtype, args.device) for dtype in (torch.float32, torch.bfloat16)}
    lines = [*header(args, peaks), ""]
    names = [build.__name__ for build in contestants(args.peers) if build is not timm]
    columns = ["cell", *names, "ours against the best", "without class token against simple_vit", "ours, of peak"]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    print("\n".join(lines), flush=True)
    for cell in cells(args):
        lines.append(row(cell, args, peaks[cell.dtype]))
        print(lines[-1], flush=True)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("\n".join(lines) + "\n")


def contestants(peers: Collection[str]) -> list[Callable[[Shape], nn.Module]]:
    """Ours, timm and the peers that were asked for; ours without class token is there for SimpleViT."""
    asked = {"ours", "timm", *peers, *(["ours_without_class_token"] if "simple_vit" in peers else [])}
    return [build for build in CONTESTANTS if build.__name__ in asked]


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """The cells that were asked for."""
    for shape in SHAPES:
        for size in shape.batches_on_gpu if args.device == "cuda" else shape.batches:
            if (args.only and not shape.name.startswith(args.only)) or (args.batch and size not in args.batch):
                continue
            for training in (False, True):
                for dtype in (torch.float32, torch.bfloat16):
                    if args.dtype in (None, _short(dtype)):
                        yield Cell(shape, size, training, dtype)


def header(args: argparse.Namespace, peaks: dict[torch.dtype, float]) -> list[str]:
    """What was measured, on what."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "vit-pytorch", "torchvision"))
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()}, {args.threads} threads"
    measured = ", ".join(f"{_short(dtype)} {peak / 1e9:,.0f}" for dtype, peak in peaks.items())
    return [
        "# The backbone against the other libraries",
        "",
        f"`{shlex.join(['python', *sys.argv])}` on {device}; {libraries}, transformers "
        f"{version('transformers')}; {args.rounds} rounds; matrix peak in GFLOP/s: {measured}.",
        "",
        "Speed as a ratio to timm in the same round: median (quartiles); above 1 is faster. Then ours against the one",
        "of timm, vit_pytorch, torchvision and transformers that is fastest by its median; and ours without class",
        "token and without biases in attention against SimpleViT, which has neither.",
    ]


def row(cell: Cell, args: argparse.Namespace, peak: float) -> str:
    """Run one cell: all contestants in every round, in a new order."""
    torch.manual_seed(0)
    size = cell.shape.image_size
    images = torch.randn(cell.batch, 3, size, size, device=args.device)
    labels = torch.randint(0, cell.shape.num_classes, (cell.batch,), device=args.device)
    steps: dict[str, Callable[[], None]] = {}
    for build in contestants(args.peers):
        model = build(cell.shape).to(args.device).train(cell.training)
        if args.compile:
            model.compile()
        steps[build.__name__] = (training_step if cell.training else forward)(model, images, labels, cell.dtype)
    flops = _flops(cell, images, args.device)
    for step in steps.values():
        step()
    clock = time.process_time if args.cpu_time else time.perf_counter
    repeats = max(1, round(SAMPLE / _timed(steps["ours"], args.device, clock=clock)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(args.rounds):
        random.shuffle(order)
        for name in order:
            seconds[name].append(_timed(steps[name], args.device, repeats, clock))
    others = [name for name in steps if name not in {"ours", "ours_without_class_token", "simple_vit"}]
    best = max(others, key=lambda name: statistics.median(_ratios(seconds[REFERENCE], seconds[name])))
    written = [_ratio(seconds[REFERENCE], own) for name, own in seconds.items() if name != REFERENCE]
    written.append(f"{_ratio(seconds[best], seconds['ours'])} {best}")
    written.append(_ratio(seconds["simple_vit"], seconds["ours_without_class_token"]) if "simple_vit" in steps else "")
    share = flops / statistics.median(seconds["ours"]) / peak
    return f"| {cell.name} | " + " | ".join(written) + f" | {100 * share:.0f} % |"


def forward(model: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Inference on one batch."""

    def step() -> None:
        with torch.inference_mode(), _autocast(images, dtype):
            model(images)

    return step


def training_step(model: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Forward, backward and one step of fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        with _autocast(images, dtype):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak_flops(dtype: torch.dtype, device: str) -> float:
    """The best of several matrix products, as attained here and now."""
    size = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(_timed(lambda: torch.mm(a, b), device) for _ in range(9))
    return 2 * size**3 / best


def _flops(cell: Cell, images: Tensor, device: str) -> float:
    """Of a batch, counted on timm's model with unfused attention, which all versions of the counter know."""
    model = timm(cell.shape).to(device)
    for block in model.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
    with FlopCounterMode(display=False) as counter:
        out = model(images[:1])
        if cell.training:
            out.sum().backward()
    return counter.get_total_flops() * cell.batch


def _timed(
    step: Callable[[], Any], device: str, repeats: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one step, the mean of `repeats`."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    for _ in range(repeats):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def _autocast(images: Tensor, dtype: torch.dtype) -> Any:
    return torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _ratios(reference: list[float], own: list[float]) -> list[float]:
    return [theirs / mine for theirs, mine in zip(reference, own, strict=True)]


def _ratio(reference: list[float], own: list[float]) -> str:
    ratios = _ratios(reference, own)
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _short(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


if __name__ == "__main__":
    main()
