"""Models of torchvision, transformers, vit-pytorch and Google's JAX code, and ours with their weights: how far apart?

    python scripts/parity_libraries.py            all of them, a minute or two; writes its table in docs/parity.md
    vit parity torchvision/vit_b_16               one of them, printed

The libraries come with `pip install -e ".[bench]"`.
"""

from importlib.metadata import version
from pathlib import Path

import torch

from vit.weights import Parity, parity

DOCUMENT = Path(__file__).parents[1] / "docs" / "parity.md"
BEGIN, END = "<!-- written by scripts/parity_libraries.py -->", "<!-- end -->"

MODELS = [
    "torchvision/vit_b_16",
    "torchvision/vit_b_32",
    "transformers/vit_tiny_patch16_224",
    "transformers/vit_small_patch32_224",
    "transformers/vit_base_patch16_224",
    "transformers/vit_small_patch14_dinov2",
    "transformers/vit_small_patch14_reg4_dinov2",
    "transformers-deit/deit_tiny_patch16_224",
    "transformers-deit/deit_small_distilled_patch16_224",
    "transformers-msn/vit_small_patch16_224",
    "transformers-mae/vit_small_patch16_224",
    "transformers-dinov3/vit_small_patch16_dinov3",
    "transformers-dinov3/vit_base_patch16_dinov3",
    "transformers-clip/vit_xsmall_patch16_clip_224",
    "transformers-clip/vit_base_patch32_clip_quickgelu_224",
    "transformers-siglip/vit_base_patch16_siglip_224",
    "transformers-siglip/vit_base_patch32_siglip_256",
    "transformers-siglip/vit_base_patch16_siglip_gap_224",
    "vit-pytorch/vit_tiny_patch16_224",
    "vit-pytorch/vit_small_patch32_224",
    "vit-pytorch-simple/vit_tiny_patch16_224",
    "vit-pytorch-simple/vit_small_patch32_224",
    "jax/vit_tiny_patch16_224",
    "jax/vit_small_patch32_224",
]


def main() -> None:
    """Compare all models and put the table into its place in the document."""
    torch.set_num_threads(2)
    results: list[Parity] = []
    for model in MODELS:
        for result in parity(model):
            print(result, flush=True)
            results.append(result)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torchvision", "transformers", "vit-pytorch", "timm"))
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join(
        [
            f"torch {version('torch')}, {libraries}; CPU, float32, two random images.",
            "",
            "| model | direction | largest difference | relative | tolerance | |",
            "|---|---|---|---|---|---|",
            *map(row, results),
        ]
    )
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def row(result: Parity) -> str:
    """A line of the table."""
    verdict = "equal" if result.holds else "**different**"
    return (
        f"| {result.model} | {result.direction} | {result.absolute:.1e} | {result.relative:.1e} "
        f"| {result.tolerance:.0e} | {verdict} |"
    )


if __name__ == "__main__":
    main()
