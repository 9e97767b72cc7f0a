"""Every method on every kind of model: maps belong to image and class, and the model is left as it was found."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import vit
from vit.explain import (
    METHODS,
    attention_flow,
    attention_gradcam,
    chefer,
    explain,
    gradient_rollout,
    raw_attention,
    token_gradcam,
)
from vit.nn import ViT, ViTConfig

NAMES = [name for name, method in METHODS.items() if not method.needs]
QUICK = [name for name in NAMES if name != "flow"]
ALL = list(METHODS)
WITH_GRADIENTS = ["chefer", "gradient_rollout", "attention_gradcam", "token_gradcam"]

KINDS: dict[str, dict[str, object]] = {
    "class token": {},
    "registers": {"num_register_tokens": 4},
    "distilled": {"distilled": True},
    "mean": {"class_token": False, "pool": "mean"},
    "map": {"class_token": False, "pool": "map"},
    "rotary": {"positions": "rope2d"},
    "checks": {"qk_norm": True, "init_values": 0.1, "drop_path_rate": 0.5, "drop_rate": 0.5},
}


def network(kind: str = "class token", **changes: object) -> ViT:
    config = {"image_size": (6, 10), "patch_size": 2, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 7}
    model = ViT(ViTConfig(**{**config, "init": "xavier", **KINDS[kind], **changes}))  # type: ignore[arg-type]
    if kind == "map":
        nn.init.normal_(model.pool.latent)  # type: ignore[arg-type, union-attr]
    return model.eval()


def images(b: int = 2) -> Tensor:
    return torch.randn(b, 3, 6, 10)


def with_gradients(model: ViT, batch: Tensor, target: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Attention and gradients by a forward pass written out here; what the head reads; norm1 and its gradient."""
    weights: list[Tensor] = []
    normed: list[Tensor] = []
    tokens = model.embed(batch)
    rotation = model.rotation(batch)
    for block in model.blocks:
        normed.append(block.norm1(tokens))
        q, k, v = block.attn.split_heads(normed[-1], rotation)
        weights.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1))
        tokens = block.add(tokens, block.attn.merge_heads(weights[-1] @ v))
    tokens = model.norm(tokens)
    score = model.classify(tokens)[:, target].sum()
    gradients = torch.autograd.grad(score, [*weights, normed[-1]])
    read = model.pool.weights(tokens).detach()
    return torch.stack(weights).detach(), torch.stack(gradients[:-1]), read, [normed[-1].detach(), gradients[-1]]


def row(read: Tensor, matrix: Tensor, model: ViT) -> Tensor:
    """What the head reads of a matrix, as maps."""
    patches = (read[:, None] @ matrix)[:, 0, model.config.num_prefix_tokens :]
    return patches.reshape(-1, 3, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_model_the_methods_are_the_pure_functions_of_its_attention_and_gradients(kind: str) -> None:
    model, batch = network(kind), images()
    attention, gradients, read, (normed, slopes) = with_gradients(model, batch, 4)
    prefix = model.config.num_prefix_tokens
    first_is_class = model.config.class_token
    expected = {
        "chefer": row(read, chefer(attention, gradients), model),
        "gradient_rollout": row(read, gradient_rollout(attention, gradients, 0.4, 1, first_is_class), model),
        "attention_gradcam": attention_gradcam(attention[1], gradients[1], read, prefix).reshape(2, 3, 5),
        "token_gradcam": token_gradcam(normed, slopes, prefix).reshape(2, 3, 5),
        "raw": raw_attention(attention[0], read, 2)[:, prefix:].reshape(2, 3, 5),
        "flow": attention_flow(attention, read, 0.3)[:, prefix:].reshape(2, 3, 5),
        "rollout": row(read, vit.rollout(attention, "max", 0.3, 1, 0.25, first_is_class), model),
    }
    settings: dict[str, dict[str, object]] = {
        "gradient_rollout": {"discard_ratio": 0.4, "start_layer": 1},
        "attention_gradcam": {"layer": 1},
        "raw": {"layer": 0, "head": 2},
        "flow": {"residual": 0.3},
        "rollout": {"head_fusion": "max", "discard_ratio": 0.3, "start_layer": 1, "residual": 0.25},
    }
    for name, maps in expected.items():
        ours = explain(model, batch, name, target=4, **settings.get(name, {})).maps  # type: ignore[arg-type]
        # float32 through three layers, forward and back, in another order of additions
        assert_close(ours, maps, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ALL)
def test_the_model_is_left_exactly_as_it_was_found(name: str) -> None:
    model = network("checks").train()
    model.set_grad_checkpointing()
    model.blocks[1].eval()
    model.head.requires_grad_(False)  # pyright: ignore
    model.head.weight.grad = torch.ones_like(model.head.weight)  # type: ignore[union-attr]
    before = fingerprint(model)
    explain(model, images(), name)
    assert fingerprint(model) == before
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(model, name)
    assert fingerprint(model) == before


def fail_in_the_middle(model: ViT, name: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    handle = model.blocks[2].mlp.register_forward_hook(fail)  # type: ignore[union-attr]
    try:
        explain(model, images(), name)
    finally:
        handle.remove()


def fingerprint(model: nn.Module) -> list[object]:
    """Weights, gradients and all flags of a model, to compare."""
    found: list[object] = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
    for path, module in model.named_modules():
        hooks = [len(module._forward_hooks), len(module._backward_hooks), len(module._forward_pre_hooks)]
        flags = [getattr(module, flag, None) for flag in ("training", "grad_checkpointing", "fused_attn")]
        found.append((path, type(module), hooks, flags, sorted(module.__dict__)))
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found.append(
            (path, tensor.requires_grad, tensor.tolist(), None if tensor.grad is None else tensor.grad.tolist())
        )
    return found


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(name: str, mode: Callable[[], torch.no_grad]) -> None:
    model, batch = network().requires_grad_(False), images()
    expected = explain(model, batch, name, target=1).maps
    with mode():
        inside = explain(model, images(), name, target=1), explain(model, batch + 0, name, target=1)
    assert not inside[1].maps.requires_grad
    assert_close(inside[1].maps.clone(), expected)


@pytest.mark.parametrize("name", ALL)
def test_each_image_is_explained_by_itself(name: str) -> None:
    model, batch = network("registers"), images(3)
    together = explain(model, batch, name, target=torch.tensor([2, 0, 6])).maps
    alone = [
        explain(model, image[None], name, target=label).maps for image, label in zip(batch, (2, 0, 6), strict=True)
    ]
    assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_map_is_of_the_class_where_the_method_says_so(name: str) -> None:
    model, batch = network(), images()
    first, second = (explain(model, batch, name, target=label) for label in (2, 5))
    assert first.class_specific == METHODS[name].class_specific
    assert torch.equal(first.maps, second.maps) != first.class_specific
    assert first.target.tolist() == [2, 2]
    assert torch.equal(first.probabilities, second.probabilities)
    assert first.signed or first.maps.min() >= 0
    assert first.unit == "score" or bool((first.maps.sum(dim=(1, 2)) <= 1 + 1e-6).all())
    assert ("same for every class" in first.claim) != first.class_specific


@pytest.mark.parametrize("name", ALL)
def test_the_predicted_class_is_explained_by_default_and_named_as_always(name: str) -> None:
    model, batch = network(), images(4)
    explanation = explain(model, batch, name)
    assert torch.equal(explanation.target, model(batch).argmax(dim=-1))
    assert_close(explanation.probabilities, model(batch).softmax(dim=-1))
    assert_close(explanation.maps, explain(model, batch, name, target=explanation.target).maps)


@pytest.mark.parametrize("name", NAMES)
def test_logits_with_and_without_capture_are_the_same(name: str) -> None:
    model, batch = network("registers"), images(3)
    with torch.no_grad():
        expected = model(batch).softmax(dim=-1)
    assert_close(explain(model, batch, name).probabilities, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_asking_twice_gives_the_same_map(name: str) -> None:
    """The fault of the well-known script: gradients of the first image stayed in its list."""
    model, batch = network(), images()
    first = explain(model, batch, name).maps
    explain(model, images(), name)
    assert torch.equal(explain(model, batch, name).maps, first)


@pytest.mark.parametrize("name", ["rollout", "raw", "flow", "chefer", "gradient_rollout"])
def test_uniform_attention_gives_a_uniform_map(name: str) -> None:
    model, batch = network(), images()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight[:48] = 0  # queries and keys say nothing, values are alike, and so are gradients
            block.attn.qkv.bias[:48] = 0
            block.attn.qkv.weight[48:] = 0
            block.attn.qkv.bias[48:] = torch.randn(24)
    maps = explain(model, batch, name).maps
    assert_close(maps, maps[:, :1, :1].expand(2, 3, 5), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_in_half_precision_maps_are_float32_and_nearly_the_same(name: str, how: str) -> None:
    model, batch = network("registers"), images()
    expected = explain(model, batch, name, target=1).maps
    if how == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours = explain(model, batch, name, target=1).maps
    else:
        ours = explain(model.bfloat16(), batch.bfloat16(), name, target=1).maps
    assert ours.dtype == torch.float32
    # eight bits in every product
    assert (ours - expected).abs().max() <= 0.15 * expected.abs().max()


@pytest.mark.parametrize("name", ALL)
def test_an_image_of_another_size_is_explained_on_its_own_grid(name: str) -> None:
    model = network("class token", dynamic_image_size=True)
    assert explain(model, torch.randn(2, 3, 10, 4), name).maps.shape == (2, 5, 2)
    assert explain(network().resize((4, 8)), torch.randn(1, 3, 4, 8), name).maps.shape == (1, 2, 4)


@pytest.mark.usefixtures("_annotations_unchecked")
@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_model_is_the_model_inside(in_place: bool) -> None:
    model, batch = network(), images()
    expected = {name: explain(model, batch, name).maps for name in ("rollout", "chefer", "token_gradcam")}
    if in_place:
        model.compile(backend="eager")
        model(batch)
        compiled: nn.Module = model
    else:
        compiled = torch.compile(model, backend="eager")  # type: ignore[assignment]
        compiled(batch)
    for name, maps in expected.items():
        assert_close(explain(compiled, batch, name).maps, maps)


def test_a_model_in_data_parallel_is_the_model_inside() -> None:
    model, batch = network(), images()
    assert_close(explain(nn.DataParallel(model), batch).maps, explain(model, batch).maps)


def test_weights_without_gradients_are_named() -> None:
    with torch.inference_mode():
        model = network()
    assert explain(model, images()).maps.shape == (2, 3, 5)
    with pytest.raises(ValueError, match=r"weights of this model were made under torch\.inference_mode"):
        explain(model, images(), "chefer")


def test_a_large_batch_goes_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(), images(5)
    expected = explain(model, batch)
    monkeypatch.setattr("vit.explain.looking.KEPT", 2 * 3 * 16 * 16 * 4)  # two images of three layers
    in_parts = explain(model, batch)
    assert_close(in_parts.maps, expected.maps)
    assert_close(in_parts.probabilities, expected.probabilities)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"method": "rolout"}, r"there is no method 'rolout'; did you mean 'rollout'\?"),
        ({"head_fuson": "max"}, r"method='rollout' has no setting 'head_fuson'; did you mean 'head_fusion'\?"),
        ({"method": "chefer", "layer": 1}, r"method='chefer' has no setting 'layer'; it has none\."),
        ({"target": 7}, r"target=7 is not one of the 7 classes, 0 to 6\."),
        ({"target": -1}, r"target=-1 is not one of the 7 classes"),
        ({"target": torch.tensor([1, 2, 3])}, r"target has shape \(3,\); one class is wanted, or one for each of 2"),
        ({"target": torch.tensor([1.0, 2.0])}, r"target has dtype torch.float32; numbers of classes are whole"),
        ({"method": "raw", "layer": 3}, r"layer=3 is not one of the 3 layers, 0 to 2, or -1 for the last\."),
        ({"method": "raw", "head": 3}, r"head=3 is not one of the 3 heads, 0 to 2\."),
        ({"method": "token_gradcam", "layer": -4}, r"layer=-4 is not one of the 3 layers"),
        ({"method": "gradient_rollout", "discard_ratio": 1.5}, r"discard_ratio=1\.5 must be from 0 to below 1\."),
        ({"method": "flow", "residual": 1.0}, r"residual=1\.0 must be from 0 to below 1\."),
    ],
)
def test_wrong_use_is_explained_in_one_sentence(asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        explain(network(), images(), **asked)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_annotations_unchecked")
def test_a_fusion_that_there_is_not_is_never_taken_for_another() -> None:
    with pytest.raises(ValueError, match=r"head_fusion='sum' is not one of mean, max, min\."):
        explain(network(), images(), head_fusion="sum")


def test_zero_images_and_a_model_without_attention_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="images is an empty batch, so there is nothing to explain"):
        explain(network(), images(0))
    with pytest.raises(ValueError, match="Linear is no Vision Transformer whose attention can be looked into"):
        explain(nn.Linear(2, 2), images())


@pytest.mark.usefixtures("_annotations_unchecked")
def test_pixels_that_are_not_normalised_and_names_of_classes_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"images have dtype torch.uint8; normalised ones"):
        explain(network(), images().byte())
    with pytest.raises(ValueError, match=r"target='cat' is a name, and classes are asked for by number"):
        explain(network(), images(), "chefer", target="cat")  # type: ignore[arg-type]


def test_nothing_captured_is_an_error() -> None:
    model = network()
    model.encode = lambda images, *_: ViT.encode(model, images)  # type: ignore[method-assign]  # looks at nothing
    for name in NAMES:
        if name != "token_gradcam":
            with pytest.raises(ValueError, match="attention of 0 layers was seen, and this model has 3"):
                explain(model, images(), name)


def test_settings_are_listed_with_their_types_and_defaults() -> None:
    settings = METHODS["rollout"].settings
    assert {name: setting.default for name, setting in settings.items()} == {
        "head_fusion": "mean",
        "discard_ratio": 0.0,
        "start_layer": 0,
        "residual": 0.5,
    }
    assert not METHODS["chefer"].settings


@pytest.mark.parametrize("name", ["rollout", "chefer", "occlusion"])
def test_a_model_learns_on_under_the_autocast_in_which_it_was_explained(name: str) -> None:
    """autocast keeps weights that it has cast, and those cast without gradients would teach nothing."""
    model, batch = network(), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        explain(model, batch, name)
        model(batch).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
