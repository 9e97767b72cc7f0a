"""A model of timm is explained as ours with the same weights is, and left as it was found."""

from typing import Any

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock, VisionTransformer
from torch.testing import assert_close

from vit.explain import METHODS, explain
from vit.nn import ViT, ViTConfig
from vit.weights.timm import from_timm

SHAPE: dict[str, Any] = {"embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 7}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class token": ({}, {}),
    "registers": ({"reg_tokens": 4}, {"num_register_tokens": 4}),
    "distilled": ({}, {"distilled": True}),
    "mean": ({"class_token": False, "global_pool": "avg"}, {"class_token": False, "pool": "mean"}),
    "mean beside a class token": ({"global_pool": "avg", "fc_norm": True}, {"pool": "mean"}),
    "map": ({"class_token": False, "global_pool": "map"}, {"class_token": False, "pool": "map"}),
}


def pair(kind: str) -> tuple[Any, ViT]:
    """timm's model and ours with the same weights, none of which are what they start as."""
    theirs, ours = KINDS[kind]
    build = VisionTransformerDistilled if kind == "distilled" else VisionTransformer
    model = build(img_size=(6, 10), patch_size=2, **SHAPE, **theirs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    final_norm = "pooled" if ours.get("pool") == "mean" else "tokens"
    twin = ViT(ViTConfig(image_size=(6, 10), patch_size=2, final_norm=final_norm, **SHAPE, **ours)).eval()
    twin.load_state_dict(from_timm(model.state_dict()))
    return model, twin


def images(b: int = 2) -> torch.Tensor:
    return torch.randn(b, 3, 6, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_timms_model_are_those_of_ours_with_its_weights(kind: str) -> None:
    (theirs, ours), batch = pair(kind), images()
    assert_close(ours(batch), theirs(batch), atol=1e-4, rtol=1e-4)
    settings: dict[str, dict[str, Any]] = {
        "rollout": {"discard_ratio": 0.3, "head_fusion": "max"},
        "raw": {"layer": 1},
        "gradient_rollout": {"discard_ratio": 0.3},
    }
    for name in METHODS:
        chosen = settings.get(name, {})
        if METHODS[name].needs and kind != "registers":
            continue
        expected = explain(ours, batch, name, target=3, **chosen)
        found = explain(theirs, batch, name, target=3, **chosen)
        scale = float(expected.maps.abs().max())
        assert scale > 0 or name.endswith("gradcam")  # nothing may speak for a class of a random model
        # float32 in another order of additions, forward and back
        assert_close(
            found.maps, expected.maps, atol=1e-4 * scale, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert_close(found.probabilities, expected.probabilities, atol=1e-5, rtol=1e-4)


def test_fused_attention_is_no_obstacle_and_is_on_again_afterwards() -> None:
    """The fault of the known scripts: with timm's default they capture nothing, or leave it switched off."""
    model, batch = pair("class token")[0].train(), images()
    model.set_grad_checkpointing()
    model.blocks[1].attn.fused_attn = False
    flags = [block.attn.fused_attn for block in model.blocks]
    assert flags == [True, False, True]

    def state() -> list[Any]:
        hooks = [len(module._forward_hooks) for module in model.modules()]
        modes = [module.training for module in model.modules()]
        grads = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
        return [[block.attn.fused_attn for block in model.blocks], hooks, modes, grads, model.grad_checkpointing]

    before = state()
    for name in METHODS:
        explain(model, batch, name)
        assert state() == before, name
    handle = model.blocks[2].mlp.register_forward_hook(lambda *_: 1 / 0)
    for name in METHODS:
        with pytest.raises(ZeroDivisionError):
            explain(model, batch, name)
    handle.remove()
    assert state() == before


def test_logits_of_timms_model_are_the_same_with_and_without_capture() -> None:
    model, batch = pair("registers")[0], images()
    with torch.inference_mode():
        assert_close(explain(model, batch).probabilities, model(batch).softmax(-1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("eva02_tiny_patch14_224", {"img_size": (28, 42), "embed_dim": 24, "depth": 2, "num_heads": 2}),
        ("vit_base_patch16_rope_224", {"img_size": (32, 48), "embed_dim": 24, "depth": 2, "num_heads": 2}),
        ("vit_base_patch16_siglip_224", {"img_size": (32, 48), "embed_dim": 24, "depth": 2, "num_heads": 2}),
        ("deit3_small_patch16_224", {"img_size": (32, 48), "embed_dim": 24, "depth": 2, "num_heads": 2}),
    ],
)
def test_relatives_can_be_looked_into(name: str, arguments: dict[str, Any]) -> None:
    model = timm.create_model(name, num_classes=5, **arguments).eval()
    batch = torch.randn(2, 3, *arguments["img_size"])
    for method in ("rollout", "chefer", "token_gradcam"):
        assert explain(model, batch, method).maps.shape == (2, 2, 3)
    rows = explain(model, batch, "rollout", residual=0.0).maps.sum(dim=(1, 2))
    assert bool((rows <= 1 + 1e-5).all())
    assert rows.min() > 0.5


def test_another_size_is_explained_on_its_own_grid() -> None:
    model = VisionTransformer(img_size=8, patch_size=2, dynamic_img_size=True, **SHAPE)
    assert explain(model, torch.randn(1, 3, 6, 12)).maps.shape == (1, 3, 6)


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (lambda: timm.create_model("resnet18"), 32, "ResNet is no Vision Transformer whose attention can be looked"),
        (lambda: timm.create_model("swin_tiny_patch4_window7_224"), 224, "SwinTransformer is no Vision Transformer"),
        (lambda: plain(block_fn=ResPostBlock), 8, "blocks of this VisionTransformer are ResPostBlock, whose"),
        (lambda: plain(block_fn=ParallelScalingBlock), 8, "blocks of this VisionTransformer are ParallelScalingBlock"),
        (lambda: plain(global_pool="max"), 8, "pools by global_pool='max', which is no weighing of tokens"),
        (lambda: plain(num_classes=0), 8, "VisionTransformer has num_classes=0 and predicts nothing"),
        (lambda: plain(), 6, "images are 6 x 6, but this model takes 8 x 8 pixels; resize them"),
        (lambda: plain(in_chans=1), 8, "images have 3 channels, but this model takes 1"),
    ],
)
def test_what_cannot_be_looked_into_is_said_in_one_sentence(model: Any, size: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        explain(model(), torch.randn(1, 3, size, size))


def plain(**changes: Any) -> Any:
    return VisionTransformer(**{"img_size": 8, "patch_size": 2, **SHAPE, **changes})
