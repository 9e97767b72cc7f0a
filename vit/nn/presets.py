"""Named architectures: timm's names for the ViTs that people use, and those of the literature on 32-pixel images.

Read a row as: name, size, patch, image, and what differs from the plain ViT of Dosovitskiy et al. 2021.
"""

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    # name      width             blocks        heads            MLP, where it is not four times as wide
    "wee": {"embed_dim": 256, "depth": 14, "num_heads": 4, "mlp_ratio": 5.0},
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "xsmall": {"embed_dim": 256, "depth": 10, "num_heads": 4},
    "little": {"embed_dim": 320, "depth": 14, "num_heads": 5, "mlp_ratio": 5.6},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "medium": {"embed_dim": 512, "depth": 12, "num_heads": 8},
    "mediumd": {"embed_dim": 512, "depth": 20, "num_heads": 8},
    "betwixt": {"embed_dim": 640, "depth": 12, "num_heads": 10},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "base_plus": {"embed_dim": 896, "depth": 12, "num_heads": 14},
    "so150m": {"embed_dim": 896, "depth": 18, "num_heads": 14, "mlp_ratio": 2.572},
    "so150m2": {"embed_dim": 832, "depth": 21, "num_heads": 13, "mlp_ratio": 34 / 13},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "so400m": {"embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362},
    "huge": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
    "giant": {"embed_dim": 1408, "depth": 40, "num_heads": 16, "mlp_ratio": 48 / 11},
    "giantopt": {"embed_dim": 1536, "depth": 40, "num_heads": 16},
    "gigantic": {"embed_dim": 1664, "depth": 48, "num_heads": 16, "mlp_ratio": 64 / 13},
    "dinov2_giant": {"embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp": "swiglu", "mlp_ratio": 2 * 2.66667},
    "lite_6": {"embed_dim": 256, "depth": 6, "num_heads": 4, "mlp_ratio": 2.0, "qkv_bias": False},
    "lite_7": {"embed_dim": 256, "depth": 7, "num_heads": 4, "mlp_ratio": 2.0, "qkv_bias": False},
    "small_data": {"embed_dim": 192, "depth": 9, "num_heads": 12, "mlp_ratio": 2.0, "qkv_bias": False},
}
"""Width, depth and heads: Dosovitskiy et al. 2021 (base, large, huge), Touvron et al. 2021 (tiny, small), Zhai et al.
2022 (giant, gigantic), Alabdulmohsin et al. 2023 (so...), Oquab et al. 2023, timm; for images of 32 pixels Hassani et
al. 2021 (lite) and Lee et al. 2021 (small_data)."""

GAP = {"class_token": False, "pool": "mean"}
"""No class token, mean of the patches."""

CLIP = {"pre_norm": True, "norm_eps": 1e-5}
"""Radford et al. 2021, the image side."""

OPENAI_CLIP = {**CLIP, "mlp": "quick_gelu"}
"""CLIP as OpenAI trained it."""

DINOV2 = {"init_values": 1e-5, "num_classes": 0}
"""Oquab et al. 2023: features, no head."""

REGISTERS = {"num_register_tokens": 4, "prefix_positions": False}
"""Darcet et al. 2024."""

DEIT3 = {"init_values": 1e-6, "prefix_positions": False}
"""Touvron et al. 2022."""

SIGLIP = {"class_token": False, "pool": "map", "num_classes": 0}
"""Zhai et al. 2023, the image side: features, no head."""

SIGLIP_GAP = {**GAP, "num_classes": 0}
"""The same without its pooling."""

SBB = {**GAP, "final_norm": "pooled", "prefix_positions": False, "init_values": 1e-5}
"""timm's 'searching for better baselines': registers, LayerScale, mean of the patches, then the norm."""

SO150M2 = {**GAP, "final_norm": "pooled", "init_values": 1e-5, "qkv_bias": False, "num_register_tokens": 1}
"""The second shape-optimised 150 M model of timm."""

ROPE = {"positions": "rope2d", "init_values": 1e-5}
"""Heo et al. 2024, axial."""

DINOV3 = {
    "positions": "rope2d_centred",
    "num_register_tokens": 4,
    "init_values": 1e-5,
    "qkv_bias": False,
    "pool": "mean",
    "norm_eps": 1e-5,
    "num_classes": 0,
    "dynamic_image_size": True,
}
"""Siméoni et al. 2025: features of images of any size, no head."""


def _row(size: str, patch_size: int, image_size: int, **options: Any) -> dict[str, Any]:
    return {**SIZES[size], "patch_size": patch_size, "image_size": image_size, **options}


PRESETS: dict[str, dict[str, Any]] = {
    # Dosovitskiy et al. 2021, Steiner et al. 2022, Zhai et al. 2022
    "vit_tiny_patch16_224": _row("tiny", 16, 224),
    "vit_tiny_patch16_384": _row("tiny", 16, 384),
    "vit_small_patch32_224": _row("small", 32, 224),
    "vit_small_patch32_384": _row("small", 32, 384),
    "vit_small_patch16_224": _row("small", 16, 224),
    "vit_small_patch16_384": _row("small", 16, 384),
    "vit_small_patch8_224": _row("small", 8, 224),
    "vit_small_patch16_36x1_224": _row("small", 16, 224, depth=36, init_values=1e-5),
    "vit_base_patch32_224": _row("base", 32, 224),
    "vit_base_patch32_384": _row("base", 32, 384),
    "vit_base_patch16_224": _row("base", 16, 224),
    "vit_base_patch16_384": _row("base", 16, 384),
    "vit_base_patch16_224_miil": _row("base", 16, 224, qkv_bias=False),
    "vit_base_patch8_224": _row("base", 8, 224),
    "vit_base_patch16_plus_240": _row("base_plus", 16, 240, init_values=1e-5),
    "vit_base_patch32_plus_256": _row("base_plus", 32, 256, init_values=1e-5),
    "vit_large_patch32_224": _row("large", 32, 224),
    "vit_large_patch32_384": _row("large", 32, 384),
    "vit_large_patch16_224": _row("large", 16, 224),
    "vit_large_patch16_384": _row("large", 16, 384),
    "vit_large_patch14_224": _row("large", 14, 224),
    "vit_huge_patch14_224": _row("huge", 14, 224),
    "vit_giant_patch14_224": _row("giant", 14, 224),
    "vit_gigantic_patch14_224": _row("gigantic", 14, 224),
    "eva_large_patch14_196": _row("large", 14, 196, pool="mean", final_norm="pooled"),
    "eva_large_patch14_336": _row("large", 14, 336, pool="mean", final_norm="pooled"),
    "vit_intern300m_patch14_448": _row("large", 14, 448, init_values=0.1, final_norm="none", dynamic_image_size=True),
    # DeiT (Touvron et al. 2021) and DeiT III (2022)
    "deit_tiny_patch16_224": _row("tiny", 16, 224),
    "deit_small_patch16_224": _row("small", 16, 224),
    "deit_base_patch16_224": _row("base", 16, 224),
    "deit_base_patch16_384": _row("base", 16, 384),
    "deit_tiny_distilled_patch16_224": _row("tiny", 16, 224, distilled=True),
    "deit_small_distilled_patch16_224": _row("small", 16, 224, distilled=True),
    "deit_base_distilled_patch16_224": _row("base", 16, 224, distilled=True),
    "deit_base_distilled_patch16_384": _row("base", 16, 384, distilled=True),
    "deit3_small_patch16_224": _row("small", 16, 224, **DEIT3),
    "deit3_small_patch16_384": _row("small", 16, 384, **DEIT3),
    "deit3_medium_patch16_224": _row("medium", 16, 224, **DEIT3),
    "deit3_base_patch16_224": _row("base", 16, 224, **DEIT3),
    "deit3_base_patch16_384": _row("base", 16, 384, **DEIT3),
    "deit3_large_patch16_224": _row("large", 16, 224, **DEIT3),
    "deit3_large_patch16_384": _row("large", 16, 384, **DEIT3),
    "deit3_huge_patch14_224": _row("huge", 14, 224, **DEIT3),
    # DINOv2, without and with registers
    "vit_small_patch14_dinov2": _row("small", 14, 518, **DINOV2),
    "vit_base_patch14_dinov2": _row("base", 14, 518, **DINOV2),
    "vit_large_patch14_dinov2": _row("large", 14, 518, **DINOV2),
    "vit_giant_patch14_dinov2": _row("dinov2_giant", 14, 518, **DINOV2),
    "vit_small_patch14_reg4_dinov2": _row("small", 14, 518, **DINOV2, **REGISTERS),
    "vit_base_patch14_reg4_dinov2": _row("base", 14, 518, **DINOV2, **REGISTERS),
    "vit_large_patch14_reg4_dinov2": _row("large", 14, 518, **DINOV2, **REGISTERS),
    "vit_giant_patch14_reg4_dinov2": _row("dinov2_giant", 14, 518, **DINOV2, **REGISTERS),
    # CLIP
    "vit_xsmall_patch16_clip_224": _row("xsmall", 16, 224, **CLIP),
    "vit_medium_patch32_clip_224": _row("medium", 32, 224, **CLIP),
    "vit_medium_patch16_clip_224": _row("medium", 16, 224, **CLIP),
    "vit_betwixt_patch32_clip_224": _row("betwixt", 32, 224, **CLIP),
    "vit_base_patch32_clip_224": _row("base", 32, 224, **CLIP),
    "vit_base_patch32_clip_256": _row("base", 32, 256, **CLIP),
    "vit_base_patch32_clip_384": _row("base", 32, 384, **CLIP),
    "vit_base_patch32_clip_448": _row("base", 32, 448, **CLIP),
    "vit_base_patch16_clip_224": _row("base", 16, 224, **CLIP),
    "vit_base_patch16_clip_384": _row("base", 16, 384, **CLIP),
    "vit_base_patch16_plus_clip_240": _row("base_plus", 16, 240, **CLIP),
    "vit_large_patch14_clip_224": _row("large", 14, 224, **CLIP),
    "vit_large_patch14_clip_336": _row("large", 14, 336, **CLIP),
    "vit_huge_patch14_clip_224": _row("huge", 14, 224, **CLIP),
    "vit_huge_patch14_clip_336": _row("huge", 14, 336, **CLIP),
    "vit_huge_patch14_clip_378": _row("huge", 14, 378, **CLIP),
    "vit_giant_patch14_clip_224": _row("giant", 14, 224, **CLIP),
    "vit_gigantic_patch14_clip_224": _row("gigantic", 14, 224, **CLIP),
    "vit_gigantic_patch14_clip_378": _row("gigantic", 14, 378, **CLIP),
    "vit_base_patch32_clip_quickgelu_224": _row("base", 32, 224, **OPENAI_CLIP),
    "vit_base_patch16_clip_quickgelu_224": _row("base", 16, 224, **OPENAI_CLIP),
    "vit_large_patch14_clip_quickgelu_224": _row("large", 14, 224, **OPENAI_CLIP),
    "vit_large_patch14_clip_quickgelu_336": _row("large", 14, 336, **OPENAI_CLIP),
    "vit_huge_patch14_clip_quickgelu_224": _row("huge", 14, 224, **OPENAI_CLIP),
    "vit_huge_patch14_clip_quickgelu_378": _row("huge", 14, 378, **OPENAI_CLIP),
    "vit_gigantic_patch14_clip_quickgelu_224": _row("gigantic", 14, 224, **OPENAI_CLIP),
    # SigLIP and SigLIP 2
    "vit_base_patch32_siglip_256": _row("base", 32, 256, **SIGLIP, mlp="gelu_tanh"),
    "vit_base_patch16_siglip_224": _row("base", 16, 224, **SIGLIP),
    "vit_base_patch16_siglip_256": _row("base", 16, 256, **SIGLIP),
    "vit_base_patch16_siglip_384": _row("base", 16, 384, **SIGLIP),
    "vit_base_patch16_siglip_512": _row("base", 16, 512, **SIGLIP),
    "vit_large_patch16_siglip_256": _row("large", 16, 256, **SIGLIP),
    "vit_large_patch16_siglip_384": _row("large", 16, 384, **SIGLIP),
    "vit_large_patch16_siglip_512": _row("large", 16, 512, **SIGLIP, mlp="gelu_tanh"),
    "vit_so400m_patch14_siglip_224": _row("so400m", 14, 224, **SIGLIP),
    "vit_so400m_patch14_siglip_378": _row("so400m", 14, 378, **SIGLIP),
    "vit_so400m_patch16_siglip_256": _row("so400m", 16, 256, **SIGLIP, mlp="gelu_tanh"),
    "vit_so400m_patch16_siglip_384": _row("so400m", 16, 384, **SIGLIP, mlp="gelu_tanh"),
    "vit_so400m_patch16_siglip_512": _row("so400m", 16, 512, **SIGLIP, mlp="gelu_tanh"),
    "vit_giantopt_patch16_siglip_256": _row("giantopt", 16, 256, **SIGLIP, mlp="gelu_tanh"),
    "vit_giantopt_patch16_siglip_384": _row("giantopt", 16, 384, **SIGLIP, mlp="gelu_tanh"),
    "vit_base_patch16_siglip_gap_224": _row("base", 16, 224, **SIGLIP_GAP),
    "vit_base_patch16_siglip_gap_256": _row("base", 16, 256, **SIGLIP_GAP),
    "vit_base_patch16_siglip_gap_384": _row("base", 16, 384, **SIGLIP_GAP),
    "vit_base_patch16_siglip_gap_512": _row("base", 16, 512, **SIGLIP_GAP),
    "vit_large_patch16_siglip_gap_256": _row("large", 16, 256, **SIGLIP_GAP),
    "vit_large_patch16_siglip_gap_384": _row("large", 16, 384, **SIGLIP_GAP),
    "vit_so400m_patch14_siglip_gap_224": _row("so400m", 14, 224, **SIGLIP_GAP),
    "vit_so400m_patch14_siglip_gap_378": _row("so400m", 14, 378, **SIGLIP_GAP),
    "vit_so400m_patch14_siglip_gap_448": _row("so400m", 14, 448, **SIGLIP_GAP),
    # timm's own: mean of the patches, registers, other widths
    "vit_medium_patch16_gap_240": _row("medium", 16, 240, **GAP, qkv_bias=False, init_values=1e-6),
    "vit_medium_patch16_gap_256": _row("medium", 16, 256, **GAP, qkv_bias=False, init_values=1e-6),
    "vit_medium_patch16_gap_384": _row("medium", 16, 384, **GAP, qkv_bias=False, init_values=1e-6),
    "vit_betwixt_patch16_gap_256": _row("betwixt", 16, 256, **GAP, qkv_bias=False, init_values=1e-6),
    "vit_base_patch16_gap_224": _row("base", 16, 224, **GAP, num_heads=16),
    "vit_huge_patch14_gap_224": _row("huge", 14, 224, **GAP, num_classes=0),
    "vit_huge_patch16_gap_448": _row("huge", 16, 448, **GAP, num_classes=0),
    "vit_giant_patch16_gap_224": _row("giant", 16, 224, **GAP, num_classes=0),
    "vit_wee_patch16_reg1_gap_256": _row("wee", 16, 256, **SBB, num_register_tokens=1),
    "vit_little_patch16_reg1_gap_256": _row("little", 16, 256, **SBB, num_register_tokens=1),
    "vit_little_patch16_reg4_gap_256": _row("little", 16, 256, **SBB, num_register_tokens=4),
    "vit_medium_patch16_reg1_gap_256": _row("medium", 16, 256, **SBB, num_register_tokens=1),
    "vit_medium_patch16_reg4_gap_256": _row("medium", 16, 256, **SBB, num_register_tokens=4),
    "vit_mediumd_patch16_reg4_gap_256": _row("mediumd", 16, 256, **SBB, num_register_tokens=4),
    "vit_mediumd_patch16_reg4_gap_384": _row("mediumd", 16, 384, **SBB, num_register_tokens=4),
    "vit_betwixt_patch16_reg1_gap_256": _row("betwixt", 16, 256, **SBB, num_register_tokens=1),
    "vit_betwixt_patch16_reg4_gap_256": _row("betwixt", 16, 256, **SBB, num_register_tokens=4),
    "vit_betwixt_patch16_reg4_gap_384": _row("betwixt", 16, 384, **SBB, num_register_tokens=4),
    "vit_base_patch16_reg4_gap_256": _row("base", 16, 256, **{**SBB, "init_values": None}, num_register_tokens=4),
    "vit_so150m_patch16_reg4_map_256": _row("so150m", 16, 256, class_token=False, pool="map", num_register_tokens=4),
    "vit_so150m_patch16_reg4_gap_256": _row("so150m", 16, 256, **GAP, num_register_tokens=4),
    "vit_so150m_patch16_reg4_gap_384": _row("so150m", 16, 384, **GAP, num_register_tokens=4),
    "vit_so150m2_patch16_reg1_gap_256": _row("so150m2", 16, 256, **SO150M2),
    "vit_so150m2_patch16_reg1_gap_384": _row("so150m2", 16, 384, **SO150M2),
    "vit_so150m2_patch16_reg1_gap_448": _row("so150m2", 16, 448, **SO150M2),
    # rotary positions (Heo et al. 2024)
    "vit_small_patch16_rope_224": _row("small", 16, 224, **ROPE),
    "vit_base_patch16_rope_224": _row("base", 16, 224, **ROPE),
    "vit_large_patch16_rope_224": _row("large", 16, 224, **ROPE),
    # DINOv3
    "vit_small_patch16_dinov3": _row("small", 16, 256, **DINOV3),
    "vit_base_patch16_dinov3": _row("base", 16, 256, **DINOV3),
    "vit_large_patch16_dinov3": _row("large", 16, 256, **DINOV3),
    # 32 pixels: ViT-Lite-depth/patch (Hassani et al. 2021), and the ViT of Lee et al. 2021, 2.7 M parameters
    "vit_lite_6_4_32": _row("lite_6", 4, 32, num_classes=10),
    "vit_lite_7_4_32": _row("lite_7", 4, 32, num_classes=10),
    "vit_lite_7_8_32": _row("lite_7", 8, 32, num_classes=10),
    "vit_small_data_patch4_32": _row("small_data", 4, 32, num_classes=10),
    "vit_tiny_patch4_32": _row("tiny", 4, 32, num_classes=10),
    "vit_small_patch4_32": _row("small", 4, 32, num_classes=10),
}
"""Fields of `ViTConfig` for every named architecture, under timm's name where timm has it."""
