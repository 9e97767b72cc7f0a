"""The learning rate by hand, and which parameters decay."""

import math

import pytest
import torch
from torch import nn

from vit.nn import ViT, ViTConfig
from vit.train.recipe import Recipe, parameter_groups, warmup_cosine


def model(patch_norm: bool = False) -> ViT:
    shape = {"image_size": 6, "patch_size": 2, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    return ViT(ViTConfig(**shape, patch_norm=patch_norm))


def test_warm_up_and_cosine_worked_by_hand() -> None:
    # 10 steps, 2 of warm-up: 1/3, 2/3, then a cosine over the 8 others from 1
    by_hand = [1 / 3, 2 / 3, 1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]
    assert [warmup_cosine(step, 10, 0.2) for step in range(10)] == pytest.approx(by_hand, abs=1e-7)
    assert warmup_cosine(10, 10, 0.2) == 0.0


def test_without_warm_up_the_first_step_is_at_full_rate() -> None:
    assert warmup_cosine(0, 10, 0.0) == 1.0
    assert warmup_cosine(5, 10, 0.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("num_steps", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (7, 0.1), (100, 0.99)])
def test_every_step_has_a_rate_above_0_that_rises_and_then_falls(num_steps: int, warmup: float) -> None:
    factors = [warmup_cosine(step, num_steps, warmup) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_steps_beyond_the_last_have_the_rate_0() -> None:
    assert warmup_cosine(15, 10, 0.1) == 0.0


def test_the_cosine_ends_at_the_least_rate_and_the_warm_up_does_not_start_there() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = Recipe(learning_rate=0.5, min_learning_rate=0.1, warmup=0.2).schedule(optimizer, 10)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.5 / 3)
    assert rates[6] == pytest.approx(0.3)  # half way down: the mean of 0.5 and 0.1
    assert rates[10] == pytest.approx(0.1)


def test_the_optimisers_rates_are_those_of_the_schedule() -> None:
    recipe = Recipe(learning_rate=0.5, warmup=0.2)
    optimizer = recipe.optimizer(model())
    schedule = recipe.schedule(optimizer, 10)
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [0.5 * warmup_cosine(step, 10, 0.2) for step in range(10)]
    assert [decayed for decayed, _ in rates] == pytest.approx(expected)
    assert [undecayed for _, undecayed in rates] == pytest.approx(expected)


def test_the_groups_partition_the_parameters() -> None:
    network = model()
    decayed, undecayed = parameter_groups(network)
    together = [id(parameter) for parameter in [*decayed.parameters, *undecayed.parameters]]
    assert len(together) == len(set(together))
    assert set(together) == {id(parameter) for parameter in network.parameters()}


@pytest.mark.parametrize("patch_norm", [False, True])
def test_matrices_decay_and_biases_norms_tokens_and_positions_do_not(patch_norm: bool) -> None:
    network = model(patch_norm=patch_norm)
    decayed = {id(parameter) for parameter in parameter_groups(network)[0].parameters}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in decayed}
    linear = ("patch_embed.proj", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "head")
    assert all(name.endswith(".weight") and name.removesuffix(".weight").endswith(linear) for name in names)
    assert len(names) == 2 + 4 * 2  # projection and head, and four matrices a block
    assert {name for name, _ in network.named_parameters()} - names >= {"tokenizer.cls_token", "tokenizer.pos_embed"}


def test_timms_model_is_grouped_as_ours() -> None:
    import timm

    arguments = {"img_size": 6, "patch_size": 2, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    theirs = timm.create_model("vit_base_patch16_224", **arguments)
    for ours, other in zip(parameter_groups(model()), parameter_groups(theirs), strict=True):
        assert sum(p.numel() for p in ours.parameters) == sum(p.numel() for p in other.parameters)


def test_frozen_parameters_are_in_no_group() -> None:
    network = model()
    network.blocks.requires_grad_(False)
    grouped = [id(parameter) for group in parameter_groups(network) for parameter in group.parameters]
    assert not set(grouped) & {id(parameter) for parameter in network.blocks.parameters()}


def test_decay_is_given_to_the_first_group_alone() -> None:
    optimizer = Recipe(weight_decay=0.3, betas=(0.8, 0.99)).optimizer(model())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.99)}


def test_one_step_of_decay_by_hand() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 2.0)
    layer.weight.grad, layer.bias.grad = torch.zeros(1, 1), torch.zeros(1)
    Recipe(learning_rate=0.1, weight_decay=0.5).optimizer(layer).step()
    assert layer.weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5))
    assert layer.bias.item() == 2.0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"learning_rate": 0.0}, r"learning_rate=0\.0 must be a number above 0; 1e-3 is usual\."),
        ({"learning_rate": math.nan}, r"learning_rate=nan must be"),
        ({"learning_rate": math.inf}, r"learning_rate=inf must be"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1 must be a number of at least 0; 0\.05 is usual\."),
        ({"warmup": 1.0}, r"warmup=1\.0 must be a share from 0 to below 1; 0\.1 is usual\."),
        ({"label_smoothing": -0.5}, r"label_smoothing=-0\.5 must be a share"),
        ({"min_learning_rate": 2e-3}, r"min_learning_rate=0\.002 must be from 0 to learning_rate=0\.001\."),
        ({"layer_decay": 0.0}, r"layer_decay=0\.0 must be above 0 and at most 1; 0\.75 is usual\."),
        ({"ema_decay": 1.0}, r"ema_decay=1\.0 must be above 0 and below 1, or null for no average"),
        (
            {"betas": (0.9, 1.0)},
            r"betas=\(0\.9, 1\.0\) must be two numbers from 0 to below 1; \(0\.9, 0\.999\) is usual\.",
        ),
    ],
)
def test_a_number_out_of_range_is_explained(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Recipe(**wrong)  # pyright: ignore


def test_no_decay_and_no_warm_up_are_allowed() -> None:
    assert Recipe(weight_decay=0.0, warmup=0.0, label_smoothing=0.0).weight_decay == 0.0


LAYERED = {"embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5, "init_values": 0.1, "qk_norm": True}


def our_and_timms_layered_model() -> tuple[ViT, nn.Module]:
    import timm

    ours = ViT(ViTConfig(image_size=6, patch_size=2, num_register_tokens=2, **LAYERED))
    theirs = timm.create_model("vit_base_patch16_224", img_size=6, patch_size=2, reg_tokens=2, **LAYERED)
    return ours, theirs


@pytest.mark.parametrize("decay", [0.5, 0.75])
def test_layers_have_the_rates_that_timm_gives_them(decay: float) -> None:
    from timm.optim import param_groups_layer_decay

    ours, theirs = our_and_timms_layered_model()
    expected = {}
    for group in param_groups_layer_decay(theirs, 0.05, theirs.no_weight_decay(), layer_decay=decay):  # pyright: ignore
        key = (group["lr_scale"], group["weight_decay"] > 0)
        expected[key] = expected.get(key, 0) + sum(p.numel() for p in group["params"])
    for network in (ours, theirs):  # ours is grouped by its own names, and timm's by timm's
        groups = parameter_groups(network, decay)
        assert {(g.lr_scale, g.decays): sum(p.numel() for p in g.parameters) for g in groups} == expected


def test_the_embedding_learns_least_and_the_head_most() -> None:
    ours, _ = our_and_timms_layered_model()
    scales = {
        name: group.lr_scale
        for group in parameter_groups(ours, 0.5)
        for name, parameter in ours.named_parameters()
        if any(parameter is member for member in group.parameters)
    }
    assert scales["tokenizer.pos_embed"] == scales["patch_embed.proj.weight"] == 0.125
    assert scales["blocks.0.attn.q_norm.weight"] == 0.25
    assert scales["blocks.1.ls1.gamma"] == scales["norm.bias"] == 0.5
    assert scales["head.weight"] == 1
    assert set(scales) == {name for name, _ in ours.named_parameters()}


def test_layer_scale_and_norms_of_queries_and_keys_do_not_decay() -> None:
    ours, _ = our_and_timms_layered_model()
    decayed = {id(p) for group in parameter_groups(ours, 0.5) if group.decays for p in group.parameters}
    names = {name for name, parameter in ours.named_parameters() if id(parameter) in decayed}
    assert not [name for name in names if "gamma" in name or "norm" in name or "token" in name or "pos_embed" in name]
    assert len(names) == 2 + 4 * 2


def test_all_groups_follow_the_schedule_in_proportion() -> None:
    recipe = Recipe(learning_rate=0.5, layer_decay=0.5, warmup=0.2, min_learning_rate=0.1)
    ours, _ = our_and_timms_layered_model()
    optimizer = recipe.optimizer(ours)
    schedule = recipe.schedule(optimizer, 10)
    for step in range(10):
        factor = warmup_cosine(step, 10, 0.2, floor=0.2)
        rates = sorted({group["lr"] for group in optimizer.param_groups})
        assert rates == pytest.approx([0.5 * factor * scale for scale in (0.125, 0.25, 0.5, 1.0)])
        optimizer.step()
        schedule.step()
