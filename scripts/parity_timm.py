"""The same weights in timm's architectures and in ours: how far are the logits apart?

    python scripts/parity_timm.py                 all of them, about five minutes on two cores; writes docs/parity.md
    python scripts/parity_timm.py 'vit_small*'    those whose name matches, printed only

Every tensor of timm's model is random, those too that start at zero or one (biases, norms, LayerScale, tokens), so that
none can be forgotten. float32 on the CPU. Models of width 384 and less must agree to 1e-5 of the largest logit, wider
ones to 1e-4; and writing the weights back must give timm's tensors bit for bit.
"""

import dataclasses
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import timm
import torch
from torch import nn

from vit.nn import ViT, ViTConfig
from vit.weights.proof import NARROW
from vit.weights.timm import from_timm, to_timm

TABLE = Path(__file__).parents[1] / "docs" / "parity.md"
BEGIN, END = "<!-- timm: written by scripts/parity_timm.py -->", "<!-- end of timm -->"
WIDE, FEW_BLOCKS = 1024, 4
"""From that width on, models are cut to that many blocks: the others are the same again, and memory is short."""

INTRODUCTION = """
## timm

timm {timm}, torch {torch}, CPU, float32, two images, every tensor random. The difference is the largest of a logit (of
a feature, where the model has no classes), relative to the largest logit; 1e-5 is asked up to a width of 384, 1e-4
beyond. "Same" also means that the weights written back are timm's bit for bit. From a width of 1024 on the models are
cut to 4 blocks. Repeat it with `python scripts/parity_timm.py`.

| timm architecture | what it shows | image | blocks | difference | same |
|---|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """An architecture of timm, perhaps for other images than its own."""

    name: str
    shows: str
    """What it has that others have not."""

    image_size: tuple[int, int] | None = None
    """Another size than its own; the positions are resampled, by timm and by us."""

    in_channels: int = 3
    dynamic: bool = False
    """Whether the other size is taken at call time."""


CASES = [
    Case("vit_tiny_patch16_224", "class token, learned positions"),
    Case("vit_tiny_patch16_384", "384 pixels"),
    Case("vit_tiny_patch16_224", "positions resampled, not square", (160, 288)),
    Case("vit_tiny_patch16_224", "positions resampled at call time", (272, 208), dynamic=True),
    Case("vit_tiny_patch16_224", "5 channels", in_channels=5),
    Case("vit_small_patch32_224", "patch 32"),
    Case("vit_small_patch16_224", "class token, learned positions"),
    Case("vit_small_patch8_224", "patch 8, 785 tokens"),
    Case("vit_small_patch16_36x1_224", "LayerScale, 36 blocks"),
    Case("vit_base_patch32_224", "patch 32"),
    Case("vit_base_patch16_224", "class token, learned positions"),
    Case("vit_base_patch16_224_miil", "no bias of queries, keys, values"),
    Case("vit_base_patch16_plus_240", "LayerScale, 240 pixels"),
    Case("vit_large_patch16_224", "class token, learned positions"),
    Case("vit_huge_patch14_224", "heads of 80 channels"),
    Case("vit_giant_patch14_224", "MLP 48/11 times as wide"),
    Case("vit_gigantic_patch14_224", "MLP 64/13 times as wide"),
    Case("eva_large_patch14_196", "class token, mean of the patches, norm after pooling"),
    Case("vit_intern300m_patch14_448", "no final norm, any size"),
    Case("deit_tiny_patch16_224", "class token, learned positions"),
    Case("deit_tiny_distilled_patch16_224", "distillation token, two heads"),
    Case("deit_tiny_distilled_patch16_224", "the same, positions resampled", (192, 320)),
    Case("deit_base_distilled_patch16_384", "distillation token, 384 pixels"),
    Case("deit3_small_patch16_224", "LayerScale, class token without position"),
    Case("deit3_base_patch16_384", "the same, 384 pixels"),
    Case("vit_small_patch14_dinov2", "DINOv2, 518 pixels, features"),
    Case("vit_small_patch14_dinov2", "the same, positions resampled", (224, 322)),
    Case("vit_small_patch14_reg4_dinov2", "registers without positions"),
    Case("vit_small_patch14_reg4_dinov2", "the same, positions resampled", (322, 224)),
    Case("vit_base_patch14_reg4_dinov2", "registers"),
    Case("vit_giant_patch14_dinov2", "SwiGLU"),
    Case("vit_giant_patch14_reg4_dinov2", "SwiGLU, registers"),
    Case("vit_xsmall_patch16_clip_224", "CLIP: norm before the blocks, epsilon 1e-5"),
    Case("vit_base_patch16_clip_224", "CLIP"),
    Case("vit_base_patch16_clip_quickgelu_224", "CLIP, quick GELU"),
    Case("vit_large_patch14_clip_336", "CLIP, 336 pixels"),
    Case("vit_base_patch16_siglip_224", "SigLIP: attention pooling, no class token"),
    Case("vit_base_patch32_siglip_256", "SigLIP 2: tanh-GELU"),
    Case("vit_base_patch16_siglip_gap_224", "SigLIP without its pooling: mean"),
    Case("vit_so400m_patch14_siglip_224", "heads of 72 channels, MLP 3.7362 times as wide"),
    Case("vit_medium_patch16_gap_240", "mean, LayerScale, no bias of queries, keys, values"),
    Case("vit_wee_patch16_reg1_gap_256", "register, no class token, mean, norm after pooling"),
    Case("vit_little_patch16_reg4_gap_256", "MLP 5.6 times as wide"),
    Case("vit_medium_patch16_reg4_gap_256", "4 registers, no class token"),
    Case("vit_betwixt_patch16_reg4_gap_384", "the same, 384 pixels"),
    Case("vit_so150m_patch16_reg4_map_256", "attention pooling beside registers"),
    Case("vit_so150m2_patch16_reg1_gap_256", "register with position, no bias of queries, keys, values"),
    Case("vit_small_patch16_rope_224", "rotary positions"),
    Case("vit_small_patch16_rope_224", "rotary positions on another grid, not square", (160, 288)),
    Case("vit_base_patch16_rope_224", "rotary positions"),
    Case("vit_small_patch16_dinov3", "DINOv3: centred rotary positions, registers, mean"),
    Case("vit_small_patch16_dinov3", "the same at call time, not square", (160, 288), dynamic=True),
    Case("vit_base_patch16_dinov3", "DINOv3"),
]


def main() -> int:
    """Compare, print, and say by the exit status whether all agree."""
    torch.set_grad_enabled(False)
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    lines: list[str] = []
    failed = 0
    for case in CASES:
        if fnmatchcase(case.name, pattern):
            line, agrees = compare(case)
            failed += not agrees
            lines.append(line)
            print(line, flush=True)
    if pattern == "*":
        write(lines)
    print(f"{len(lines) - failed} of {len(lines)} agree")
    return int(failed > 0)


def compare(case: Case) -> tuple[str, bool]:
    """A row of the table, and whether the two models are the same."""
    config = ViTConfig.preset(case.name, in_channels=case.in_channels)
    full_depth, depth = config.depth, FEW_BLOCKS if config.embed_dim >= WIDE else config.depth
    config = dataclasses.replace(config, depth=depth, dynamic_image_size=case.dynamic or config.dynamic_image_size)
    theirs = timm.create_model(
        case.name,
        depth=depth,
        num_classes=config.num_classes,
        in_chans=case.in_channels,
        img_size=config.image_hw,
        dynamic_img_size=config.dynamic_image_size,
    ).eval()
    randomise(theirs)
    state = from_timm(theirs.state_dict())
    with torch.device("meta"):
        ours = ViT(config).eval()
    ours.load_state_dict(state, assign=True)
    exact = all(torch.equal(theirs.state_dict()[k], tensor) for k, tensor in to_timm(ours.state_dict(), config).items())
    if case.image_size and not case.dynamic:
        ours.resize(case.image_size)
        theirs.set_input_size(case.image_size)
    size = case.image_size or config.image_hw
    images = torch.randn(2, case.in_channels, *size, generator=torch.Generator().manual_seed(0))
    expected = theirs(images)
    difference = ((ours(images) - expected).abs().max() / expected.abs().max()).item()
    tolerance = 1e-5 if config.embed_dim <= NARROW else 1e-4
    agrees = exact and difference <= tolerance
    blocks = f"{depth} of {full_depth}" if depth < full_depth else depth
    row = (case.name, case.shows, f"{size[0]} x {size[1]}", blocks, f"{difference:.1e}", "yes" if agrees else "**no**")
    return "| " + " | ".join(str(cell) for cell in row) + " |", agrees


def randomise(model: nn.Module) -> None:
    """Fill every tensor: matrices so that they keep the size of what goes through, all else around what it was."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim < 2:
            tensor.add_(0.2 * noise)
        elif name.endswith("weight"):
            tensor.copy_(noise * tensor[0].numel() ** -0.5)
        else:  # tokens and positions
            tensor.copy_(0.5 * noise)


def write(lines: list[str]) -> None:
    """Put the table where docs/parity.md has its place for it, or at the end."""
    text = TABLE.read_text(encoding="utf-8") if TABLE.exists() else "# Parity\n\n"
    if BEGIN not in text:
        text += f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    table = INTRODUCTION.format(timm=timm.__version__, torch=torch.__version__) + "\n".join(lines)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
