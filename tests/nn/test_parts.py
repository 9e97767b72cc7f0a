"""A batch that goes through in parts gives what it gives at once, and nobody who looks on sees a part."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from tests.nn.test_vit import build, each_option, images
from vit.nn import ViT, parts
from vit.nn.attention import Attention
from vit.nn.positions import Rotation


@pytest.fixture(autouse=True)
def few_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two images of the tiny model, whose 6 patches have at most 3 tokens before them."""
    monkeypatch.setattr(parts, "TOKENS_OF_A_THREAD", 16)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[ViT, list[int]]:
    """A model, and how many images come into its first block, batch by batch."""
    batches = list[int]()
    whole = ViT._enter  # pyright: ignore[reportPrivateUsage]

    def counting(self: ViT, images: Tensor, *others: Any) -> Any:
        batches.append(len(images))
        return whole(self, images, *others)

    monkeypatch.setattr(ViT, "_enter", counting)
    return build(), batches


class Recording(Attention):
    """Attention that keeps what it was last asked about."""

    def split_heads(self, tokens: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor, Tensor]:
        self.last = tokens
        return super().split_heads(tokens, rotation)


@each_option
def test_logits_are_those_of_the_whole_batch(options: dict[str, object]) -> None:
    model, batch = build(**options), images(9)
    with torch.no_grad():
        assert len(parts.in_parts(model, batch, 7)) == 4
        in_parts = model(batch)
    torch.testing.assert_close(in_parts, model(batch).detach())


def test_parts_are_even_and_come_only_with_a_large_batch(counted: tuple[ViT, list[int]]) -> None:
    model, batches = counted
    with torch.inference_mode():
        model(images(3))  # 21 tokens are nearer to one part than to two
        model(images(7))
        assert model(images(0)).shape == (0, 5)
    assert batches == [3, 3, 2, 2, 0]


def test_a_batch_stays_whole_with_gradients_and_in_training(counted: tuple[ViT, list[int]]) -> None:
    model, batches = counted
    model(images(9))
    with torch.no_grad():
        model.train()(images(9))
        model.eval().encode(images(9))
    assert batches == [9, 9, 9]


def test_a_batch_stays_whole_while_it_is_traced(
    counted: tuple[ViT, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = counted
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    with torch.no_grad():
        model(images(9))
    assert batches == [9]


def test_more_threads_have_larger_parts(counted: tuple[ViT, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = counted
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with torch.no_grad():
        model(images(9))
    assert batches == [5, 4]


def test_whoever_hooks_a_module_sees_the_whole_batch() -> None:
    model, seen = build(), list[int]()
    hooks = (
        model.norm.register_forward_hook(lambda module, inputs, output: seen.append(len(output))),
        model.blocks[2].register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0]))),
    )
    for hook in hooks:
        with torch.no_grad():
            model(images(9))
        hook.remove()
    assert seen == [9, 9, 9]
    with torch.no_grad():
        assert len(parts.in_parts(model, images(9), 7)) == 4


def replace_a_method(model: ViT) -> None:
    block = model.blocks[1]
    block.forward = block.forward


def put_in_a_module_of_ones_own(model: ViT) -> None:
    model.blocks[1].attn = Recording(24, 3)


def leave_dropout_on(model: ViT) -> None:
    model.tokenizer.dropout = nn.Dropout(0.5).train()


def compile_a_block(model: ViT) -> None:
    model.blocks[1].compile()


def mix_the_images(model: ViT) -> None:
    model.head = nn.Sequential(nn.Linear(24, 5), nn.Softmax(dim=0))


@pytest.mark.parametrize(
    "change", [replace_a_method, put_in_a_module_of_ones_own, leave_dropout_on, compile_a_block, mix_the_images]
)
def test_a_batch_stays_whole_where_a_model_is_not_as_it_was_built(change: Callable[[ViT], None]) -> None:
    model, batch = build(), images(9)
    with torch.no_grad():
        assert len(parts.in_parts(model, batch, 7)) == 4
        change(model)
        assert len(parts.in_parts(model, batch, 7)) == 1


def test_images_that_a_head_mixes_are_mixed_as_in_one_batch() -> None:
    model, batch = build(), images(9)
    mix_the_images(model)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).sum(dim=0), torch.ones(5))


def test_whoever_hooks_all_modules_of_a_process_sees_the_whole_batch(counted: tuple[ViT, list[int]]) -> None:
    model, batches = counted

    def look(module: nn.Module, inputs: object, output: object) -> None:
        pass

    hook = register_module_forward_hook(look)
    with torch.no_grad():
        model(images(9))
        hook.remove()
        model(images(9))
    assert batches == [9, 3, 2, 2, 2]


def test_a_hook_of_the_model_itself_is_called_once() -> None:
    model, seen = build(), list[int]()
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    with torch.no_grad():
        model(images(9))
        assert len(parts.in_parts(model, images(9), 7)) == 4
    assert seen == [9]


def test_an_exported_model_takes_batches_of_any_size() -> None:
    model, batch = build(), torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(model, (images(9),), dynamic_shapes=({0: batch},))
        for size in (2, 30):
            few = images(size)
            torch.testing.assert_close(program.module()(few), model(few))
