"""A batch that goes through in parts gives what it gives at once, and nobody who looks on sees a part."""

import pytest
import torch
from torch import Tensor, nn

from tests.nn.test_vit import build, each_option, images
from vit.nn import ViT, parts


@pytest.fixture(autouse=True)
def few_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two images of the tiny model, whose 6 patches have at most 3 tokens before them."""
    monkeypatch.setattr(parts, "TOKENS_OF_A_THREAD", 16)


class Counting(nn.Module):
    """A block that notes how many images come through."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.batches = block, list[int]()

    def forward(self, tokens: Tensor, *others: object) -> Tensor:
        self.batches.append(len(tokens))
        return self.block(tokens, *others)


@pytest.fixture
def counted() -> tuple[ViT, list[int]]:
    model = build()
    counting = Counting(model.blocks[1])
    model.blocks[1] = counting
    return model, counting.batches


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
