"""The whole model: what goes in and out of it, whichever parts it is built of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vit.nn import ViT, ViTConfig

TINY: dict[str, Any] = {
    "image_size": (14, 21),  # a grid of 2 rows and 3 columns
    "patch_size": 7,
    "in_channels": 2,
    "num_classes": 5,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "init": "xavier",  # with a std of 0.02 so narrow a model hardly sees its input
    "pos_embed_std": 0.5,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"num_register_tokens": 2, "prefix_positions": False},
    "distilled": {"distilled": True},
    "mean": {"class_token": False, "pool": "mean", "final_norm": "pooled"},
    "map": {"class_token": False, "pool": "map", "mlp": "gelu_tanh"},
    "clip": {"pre_norm": True, "mlp": "quick_gelu", "norm_eps": 1e-5},
    "patch norm": {"patch_norm": True},
    "dinov2": {"mlp": "swiglu", "init_values": 0.5, "qk_norm": True},
    "sincos2d": {"positions": "sincos2d"},
    "rope2d": {"positions": "rope2d", "num_register_tokens": 1},
    "dinov3": {"positions": "rope2d_centred", "num_register_tokens": 1, "pool": "mean"},
    "bare": {"positions": "none", "final_norm": "none", "qkv_bias": False},
}

each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def build(**options: Any) -> ViT:
    return ViT(ViTConfig(**{**TINY, **options})).eval()


def images(batch: int = 2, height: int = 14, width: int = 21) -> Tensor:
    return torch.randn(batch, 2, height, width)


@each_option
def test_logits_tokens_maps_and_weights_have_their_shapes(options: dict[str, Any]) -> None:
    model = build(**options)
    n = model.config.num_prefix_tokens + 6
    assert model(images()).shape == (2, 5)
    assert model.encode(images()).shape == (2, n, 24)
    assert [tuple(each.shape) for each in model.features(images())] == [(2, 24, 2, 3)] * 3
    assert model.attention(images()).shape == (3, 2, 3, n, n)


@each_option
def test_every_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    model = build(**options).train()
    model(images()).square().sum().backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@each_option
def test_without_classes_the_features_that_the_head_would_read_are_returned(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    bare = build(**options, num_classes=0)
    bare.load_state_dict({name: t for name, t in model.state_dict().items() if not name.startswith("head.")})
    assert bare(batch).shape == (2, 24)
    if not model.config.distilled:
        torch.testing.assert_close(model.head(bare(batch)), model(batch))


@each_option
def test_an_image_does_not_see_its_batch(options: dict[str, Any]) -> None:
    model, batch = build(**options), images(3)
    torch.testing.assert_close(model(batch)[1:2], model(batch[1:2]), atol=1e-5, rtol=1e-5)  # kernels by batch size


@each_option
def test_positions_and_only_positions_tell_patches_apart(options: dict[str, Any]) -> None:
    model = build(**options)
    patches = images()
    swapped = torch.cat([patches[..., 7:14], patches[..., :7], patches[..., 14:]], dim=-1)
    same = torch.allclose(model(patches), model(swapped), atol=1e-5)
    assert same == (model.config.positions == "none")


def test_blocks_do_not_start_as_copies_of_each_other() -> None:
    model = build()
    for name, parameter in model.blocks[0].named_parameters():
        if name.endswith("weight") and "norm" not in name:
            assert not torch.equal(parameter, model.blocks[1].get_parameter(name)), name


def test_stochastic_depth_rises_linearly_to_the_last_block() -> None:
    model = build(drop_path_rate=0.4)
    assert [block.drop_path.rate for block in model.blocks] == [0, 0.2, 0.4]


@pytest.mark.parametrize("final_norm", ["tokens", "pooled"])
def test_every_norm_has_the_epsilon_of_the_config(final_norm: str) -> None:
    model = build(norm_eps=1e-3, qk_norm=True, patch_norm=True, pre_norm=True, pool="map", final_norm=final_norm)
    norms = [module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)]
    # two of the patches, one before the blocks, four in each, the last one, the pool's
    assert norms == [1e-3] * (2 + 1 + 3 * 4 + 1 + 1)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    model, batch = build(drop_rate=0.3, drop_path_rate=0.3, patch_drop_rate=0.5), images()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))
    assert model.encode(batch).shape == (2, 1 + 3, 24)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_prediction_reads_the_token_it_says(pool: str) -> None:
    model, batch = build(pool=pool, num_register_tokens=2), images()
    tokens = model.encode(batch)
    pooled = tokens[:, 0] if pool == "cls" else tokens[:, 3:].mean(1)
    torch.testing.assert_close(model(batch), model.head(pooled))


def test_both_heads_of_a_distilled_model_average_to_its_prediction() -> None:
    model, batch = build(distilled=True), images()
    logits, distilled = model.distillation_logits(batch)
    torch.testing.assert_close(model(batch), (logits + distilled) / 2)
    assert torch.equal(model.train()(batch), model.eval()(batch))
    with pytest.raises(ValueError, match="only a model with distilled=True"):
        build().distillation_logits(batch)


# looking inside


@each_option
def test_attention_is_what_the_forward_pass_multiplies_by(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    weights = model.attention(batch)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    tokens = model.embed(batch)
    for layer, block in enumerate(model.blocks):
        _, _, v = block.attn.split_heads(block.norm1(tokens))
        mixed = block.attn.merge_heads(weights[layer] @ v)
        tokens = block.add(tokens, mixed)
    torch.testing.assert_close(model.norm(tokens), model.encode(batch), atol=1e-5, rtol=1e-5)  # another kernel


def test_looking_at_one_layer_leaves_the_others_fused_and_the_logits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(), images()
    logits, all_weights = model(batch), model.attention(batch)
    fused: list[int] = []
    original = F.scaled_dot_product_attention

    def counting(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        fused.append(1)
        return original(q, k, v)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counting)
    torch.testing.assert_close(model.attention(batch, layers=[1])[0], all_weights[1], atol=1e-6, rtol=1e-5)
    assert len(fused) == 1  # layer 0; layer 2 does not run
    assert torch.equal(model(batch), logits)
    assert len(fused) == 1 + model.config.depth


def test_features_are_the_tokens_of_the_patches_on_their_grid() -> None:
    model, batch = build(num_register_tokens=2), images()
    (last,) = model.features(batch, layers=[2], normalise=True)
    torch.testing.assert_close(last[:, :, 1, 2], model.encode(batch)[:, 3 + 1 * 3 + 2])
    (first,) = model.features(batch, layers=[0])
    by_hand = model.blocks[0](model.embed(batch))
    torch.testing.assert_close(first[:, :, 0, 1], by_hand[:, 3 + 1])
    assert not torch.allclose(first, last)


@each_option
def test_tokens_and_attention_in_one_pass_are_those_of_two(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    tokens, weights = model.encode_with_attention(batch)
    assert torch.equal(weights, model.attention(batch))
    torch.testing.assert_close(tokens, model.encode(batch), atol=1e-5, rtol=1e-5)  # another kernel


def test_one_pass_runs_every_block_once() -> None:
    model, ran = build(), []
    for layer, block in enumerate(model.blocks):
        block.mlp.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    model.encode_with_attention(images())
    assert ran == [0, 1, 2]


def test_layers_come_in_the_order_asked_for() -> None:
    model, batch = build(), images()
    maps, weights = model.features(batch), model.attention(batch)
    for backwards in ([2, 0], [1, 1, 0]):
        for found, layer in zip(model.features(batch, layers=backwards), backwards, strict=True):
            assert torch.equal(found, maps[layer])
        torch.testing.assert_close(model.attention(batch, layers=backwards), weights[backwards], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layers", [[3], [-1], []])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    model = build()
    for look in (model.attention, model.features):
        with pytest.raises(ValueError, match="asks for blocks that are not there; this model has 0 to 2"):
            look(images(), layers=layers)


def test_maps_with_holes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patch_drop_rate leaves holes in the maps; call model.eval\(\) first"):
        build(patch_drop_rate=0.5).train().features(images())


# sizes


@pytest.mark.usefixtures("_annotations_unchecked")
def test_other_images_than_the_models_are_refused_with_what_would_work() -> None:
    model, dynamic = build(), build(dynamic_image_size=True)
    for network, batch, sentence in (
        (model, torch.randn(2, 14, 21), r"3 axes, .*takes 4: .*images\[None\] makes a batch of one image"),
        (model, torch.randn(1, 2, 2, 14, 21), r"5 axes, .*images.flatten\(0, 1\) one of a batch of clips"),
        (model, torch.randn(1, 3, 14, 21), "are 3 x 14 x 21 .*, but this model takes 2 channels; .*with in_channels=3"),
        (dynamic, torch.randn(1, 3, 35, 35), "this model takes 2 channels"),
        (model, images(height=15), "are 2 x 15 x 21 .*no whole number of patches of 7 x 7; .* resize them to 14 x 21"),
        (dynamic, images(height=15), "no whole number of patches of 7 x 7; .*to multiples of 7 x 7"),
        (dynamic, images(height=0), "are 2 x 0 x 21 .*no whole number of patches"),
        (model, images(height=21, width=14), r"are 2 x 21 x 14 .*takes 14 x 21 pixels; .*model.resize\(\(21, 14\)\)"),
    ):
        for refuse in (network, network.encode_with_attention, network.grid_of):
            with pytest.raises(ValueError, match=sentence):
                refuse(batch)


def test_the_grid_of_images_is_rows_then_columns() -> None:
    assert build().grid_of(images()) == (2, 3)
    assert build(dynamic_image_size=True).grid_of(images(height=35, width=28)) == (5, 4)


@each_option
def test_no_images_have_no_logits(options: dict[str, Any]) -> None:
    model = build(**options)
    assert model(images(0)).shape == (0, 5)
    assert model.attention(images(0)).shape[:2] == (3, 0)


@each_option
def test_resizing_and_dynamic_size_give_the_same_logits(options: dict[str, Any]) -> None:
    model, dynamic = build(**options), build(**options, dynamic_image_size=True)
    dynamic.load_state_dict(model.state_dict())
    larger = images(height=35, width=28)
    native = images()
    torch.testing.assert_close(dynamic(native), model(native))
    assert model.resize((35, 28)) is model
    assert model.config.grid == (5, 4)
    ViT(model.config).load_state_dict(model.state_dict())  # what is saved now is a model of that size
    torch.testing.assert_close(dynamic(larger), model(larger), atol=1e-6, rtol=1e-5)
    assert model.attention(larger).shape[-1] == model.config.num_tokens


def test_resizing_to_the_same_size_changes_nothing() -> None:
    model = build()
    before = model.tokenizer.pos_embed
    assert model.resize((14, 21)).tokenizer.pos_embed is before


def test_a_size_that_the_patch_does_not_divide_is_refused_before_anything_changes() -> None:
    model = build()
    with pytest.raises(ValueError, match="patch_size=7 does not divide image_size=15"):
        model.resize(15)
    assert model(images()).shape == (2, 5)


# how it runs


@each_option
def test_gradient_checkpointing_changes_neither_logits_nor_gradients(options: dict[str, Any]) -> None:
    model, batch = build(**options).train(), images()

    def step() -> tuple[Tensor, list[Tensor]]:
        logits = model(batch)
        return logits, list(torch.autograd.grad(logits.square().sum(), list(model.parameters())))

    plain = step()
    model.set_grad_checkpointing()
    torch.testing.assert_close(step(), plain, atol=0, rtol=0)


def test_gradient_checkpointing_runs_every_block_twice_in_training_and_once_without_gradients() -> None:
    model, batch, ran = build().train(), images(), []
    for layer, block in enumerate(model.blocks):
        block.mlp.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    model.set_grad_checkpointing()
    model(batch).sum().backward()
    assert ran == [0, 1, 2, 2, 1, 0]
    ran.clear()
    with torch.no_grad():
        model(batch)
    assert ran == [0, 1, 2]
    model.set_grad_checkpointing(False)
    ran.clear()
    model(batch).sum().backward()
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_option
def test_autocast_stays_near_float32(options: dict[str, Any], dtype: torch.dtype) -> None:
    model, batch = build(**options), images()
    with torch.autocast("cpu", dtype):
        low = model(batch)
    # 8 bits of bfloat16 through 3 blocks; logits are of order 1
    torch.testing.assert_close(low.float(), model(batch), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["rope2d"], {"dynamic_image_size": True}])
def test_export_keeps_the_logits_and_a_free_batch_size(options: dict[str, Any]) -> None:
    model, batch = build(**options, depth=1), images(2)
    program = torch.export.export(model, (batch,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = images(5)
    torch.testing.assert_close(program.module()(more), model(more), atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("_annotations_unchecked")
@pytest.mark.parametrize("positions", ["learned", "sincos2d", "rope2d", "rope2d_centred"])
def test_export_of_a_model_for_any_size_may_leave_the_size_free(positions: str) -> None:
    model = build(positions=positions, depth=1, dynamic_image_size=True)
    rows, columns = torch.export.Dim("rows", min=2, max=9), torch.export.Dim("columns", min=2, max=9)
    sizes = {2: 7 * rows, 3: 7 * columns}
    program = torch.export.export(model, (images(height=35, width=28),), dynamic_shapes=(sizes,)).module()
    for batch in (images(), images(height=28, width=42)):  # the native size and another
        torch.testing.assert_close(program(batch), model(batch), atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("_annotations_unchecked")
@each_option
def test_the_whole_model_is_one_graph_to_the_compiler(options: dict[str, Any]) -> None:
    model, batch = build(**options, depth=1), images()
    names = list(model.state_dict())
    logits = model(batch)
    model.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(model(batch), logits)
    assert list(model.state_dict()) == names


@pytest.mark.slow
@pytest.mark.usefixtures("_annotations_unchecked")
def test_the_compiled_model_trains_as_the_plain_one() -> None:
    model, batch = build(positions="rope2d", init_values=0.5), images()
    plain = torch.autograd.grad(model(batch).square().sum(), list(model.parameters()))
    model.compile(fullgraph=True)
    compiled = torch.autograd.grad(model(batch).square().sum(), list(model.parameters()))
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)  # fused sums in another order


@pytest.mark.slow
@pytest.mark.usefixtures("_annotations_unchecked")
def test_the_compiled_model_trains_on_images_of_several_sizes() -> None:
    torch.compiler.reset()
    model = build(depth=1, dynamic_image_size=True)
    table = model.tokenizer.pos_embed
    batches = images(), images(height=28), images(height=35, width=42)
    plain = [torch.autograd.grad(model(batch).square().sum(), table) for batch in batches]
    model.compile(fullgraph=True, backend="aot_eager")
    compiled = [torch.autograd.grad(model(batch).square().sum(), table) for batch in batches]
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-5)


def test_the_model_trains_under_distributed_data_parallel() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model, batch = build(num_register_tokens=2), images()
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # a parameter without a gradient would be found in the second step
            parallel(batch).sum().backward()
        saved = {name.removeprefix("module."): tensor for name, tensor in parallel.state_dict().items()}
        assert len(saved) == len(parallel.state_dict())
        loaded = build(num_register_tokens=2)
        loaded.load_state_dict(saved)
        torch.testing.assert_close(loaded(batch), model(batch))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("initialise", [lambda model: model, lambda model: model.set_grad_checkpointing() or model])
def test_names_of_tensors_are_those_that_saved_models_have(initialise: Callable[[ViT], ViT]) -> None:
    names = list(initialise(build(depth=1)).state_dict())
    assert names == [
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "tokenizer.cls_token",
        "tokenizer.pos_embed",
        "blocks.0.norm1.weight",
        "blocks.0.norm1.bias",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.qkv.bias",
        "blocks.0.attn.proj.weight",
        "blocks.0.attn.proj.bias",
        "blocks.0.norm2.weight",
        "blocks.0.norm2.bias",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc1.bias",
        "blocks.0.mlp.fc2.weight",
        "blocks.0.mlp.fc2.bias",
        "norm.weight",
        "norm.bias",
        "head.weight",
        "head.bias",
    ]


@each_option
def test_showing_all_patches_is_encoding_and_their_order_does_not_matter(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    in_order, shuffled = torch.arange(6).expand(2, 6), torch.stack([torch.randperm(6), torch.randperm(6)])
    torch.testing.assert_close(model.encode_some(batch, in_order), model.encode(batch))
    # summed in another order
    torch.testing.assert_close(model.classify(model.encode_some(batch, shuffled)), model(batch), atol=1e-5, rtol=1e-5)


@each_option
def test_a_patch_that_is_not_shown_has_no_influence(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    changed = batch.clone()
    changed[0, :, 7:, :7] += 1  # patch 3 of the first image, patch 2 of the second
    changed[1, :, :7, 14:] += 1
    kept = torch.tensor([[5, 0, 1, 2, 4], [0, 1, 3, 4, 5]])
    torch.testing.assert_close(model.encode_some(changed, kept), model.encode_some(batch, kept))
    assert not torch.allclose(model.encode(changed), model.encode(batch))


@pytest.mark.parametrize("positions", ["learned", "rope2d", "rope2d_centred"])
def test_training_with_patches_dropped_is_showing_the_others(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(positions=positions, patch_drop_rate=0.5).train(), images()
    kept = torch.tensor([[5, 0, 2], [1, 3, 4]])
    monkeypatch.setattr(model.patch_dropout, "draw", lambda *_: kept)
    dropped = model.encode(batch)
    torch.testing.assert_close(model.encode_some(batch, kept), dropped)
    torch.testing.assert_close(model.eval().encode_some(batch, kept), dropped)


def test_the_first_row_alone_is_the_model_of_an_image_that_has_no_other() -> None:
    model, batch = build(), images()
    one_row = build(image_size=(7, 21))
    state = model.state_dict()
    one_row.load_state_dict({**state, "tokenizer.pos_embed": state["tokenizer.pos_embed"][:4]})
    shown = model.encode_some(batch, torch.tensor([[0, 1, 2], [0, 1, 2]]))
    torch.testing.assert_close(shown, one_row.encode(batch[:, :, :7]))


@each_option
def test_the_forward_pass_is_what_the_head_reads_of_all_tokens(options: dict[str, Any]) -> None:
    model, batch = build(**options), images()
    logits, whole = model(batch), model.classify(model.encode(batch))
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-5)  # products of other shapes round otherwise
    gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
    expected = torch.autograd.grad(whole.square().sum(), list(model.parameters()), allow_unused=True)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("options", "rows"), [({}, 1), ({"distilled": True}, 2), (OPTIONS["mean"], 6)])
def test_the_last_block_works_only_for_the_tokens_that_are_read(options: dict[str, Any], rows: int) -> None:
    model, seen = build(**options), []
    for block in model.blocks:
        block.get_submodule("mlp").register_forward_hook(
            lambda _module, inputs, _output: seen.append(inputs[0].shape[1])
        )
    model(images())
    assert seen == [model.config.num_tokens] * 2 + [rows]
