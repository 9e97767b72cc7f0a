"""Every operation on a batch is torchvision's on single images, and chance falls as torchvision's does."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vit.data.policy import OPERATIONS, Step, apply_policy, draw_policy

TORCHVISIONS = {
    "trivial": v2.TrivialAugmentWide(),
    "randaugment": v2.RandAugment(num_ops=2, magnitude=9),
    "autoaugment_cifar10": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "autoaugment_imagenet": v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
}
POLICIES = tuple(TORCHVISIONS)
SIGNED = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 7, "TranslateY": 7, "Rotate": 135, "Brightness": 0.99}
SIGNED |= {"Color": 0.99, "Contrast": 0.99, "Sharpness": 0.99}


def pictures(b: int, c: int, h: int = 31, w: int = 37) -> Tensor:
    """Smooth ones with noise, of more pixels than greys: fewer are not equalised."""
    generator = torch.Generator().manual_seed(b)
    smooth = torch.nn.functional.interpolate(torch.rand(b, c, 4, 5, generator=generator), (h, w), mode="bicubic")
    return (smooth * 220 + 20 * torch.rand(b, c, h, w, generator=generator)).clamp(0, 255).to(torch.uint8)


def one_by_one(image: Tensor, name: str, magnitude: float) -> Tensor:
    transform: Any = v2.TrivialAugmentWide()
    if name == "Invert":
        return v2.functional.invert(image)
    return transform._apply_image_or_video_transform(image, name, magnitude, v2.InterpolationMode.NEAREST, {})


def magnitudes_of(name: str) -> list[float]:
    if name in SIGNED:
        return [share * SIGNED[name] for share in (-1, -0.61, -0.23, 0, 0.17, 0.55, 1)]
    if name == "Posterize":
        return [2.0, 3, 4, 5, 6, 7, 8]
    return [0.0, 0.2, 0.4, 0.5, 0.6, 0.9, 1.0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_on_a_batch_is_torchvisions_on_every_image(name: str, channels: int) -> None:
    magnitudes = magnitudes_of(name)
    images = pictures(len(magnitudes), channels)
    images[-1] = 77  # one colour: its contrast has nothing to stretch
    operations = torch.full((len(magnitudes),), OPERATIONS.index(name))
    ours = apply_policy(images, [Step(operations, torch.tensor(magnitudes))]).int()
    theirs = torch.stack([one_by_one(*pair) for pair in zip(images, [name] * 7, magnitudes, strict=True)]).int()
    wrong = (ours - theirs).abs()
    if name in ("ShearX", "ShearY", "Rotate"):
        assert (wrong > 0).float().mean() < 0.002  # which of two pixels is nearest, where both are as near
    else:
        assert wrong.max() <= 1  # the order of float32 sums, cut off to whole numbers
        assert (wrong > 0).float().mean() < 0.01
    assert (name == "Identity" or (name == "Color" and channels == 1)) != bool((ours != images).any())


@pytest.mark.parametrize("policy", POLICIES)
def test_large_images_are_changed_some_at_a_time_and_alike(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(11, 3)
    steps = draw_policy(policy, 11, (31, 37), torch.Generator().manual_seed(0))
    at_once = apply_policy(images, steps)
    monkeypatch.setattr("vit.data.policy._AT_ONCE", 2 * 3 * 31 * 37)
    assert torch.equal(apply_policy(images, steps), at_once)
    assert not torch.equal(at_once, images)


def test_every_image_of_a_batch_gets_its_own_operations_in_order() -> None:
    images = pictures(6, 3)
    names = [["Rotate", "Invert", "Identity", "Equalize", "ShearX", "Invert"], ["Invert", "Posterize"] * 3]
    strengths = [[90.0, 0, 0, 0, 0.3, 0], [0.0, 2, 0, 4, 0, 3]]
    steps = [
        Step(torch.tensor([OPERATIONS.index(name) for name in row]), torch.tensor(strength))
        for row, strength in zip(names, strengths, strict=True)
    ]
    ours = apply_policy(images, steps)
    for number in range(6):
        expected = images[number]
        for row, strength in zip(names, strengths, strict=True):
            expected = one_by_one(expected, row[number], strength[number])
        assert (ours[number] != expected).float().mean() < 0.01


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_and_strengths_are_drawn_as_often_as_torchvision_draws_them(policy: str) -> None:
    drawn: list[list[tuple[str, float]]] = []
    transform: Any = TORCHVISIONS[policy]

    def note(image: Tensor, name: str, magnitude: float, **_: object) -> Tensor:
        drawn[-1].append((name, round(magnitude, 4)))
        return image

    transform._apply_image_or_video_transform = note
    torch.manual_seed(0)
    image = pictures(1, 3, 32, 24)[0]
    for _ in range(4000):
        drawn.append([])
        transform(image)
    theirs = [pair for pairs in drawn for pair in pairs if pair[0] != "Identity"]
    steps = draw_policy(policy, 4000, (32, 24), torch.Generator().manual_seed(0))
    ours = [
        (OPERATIONS[operation], round(magnitude, 4))
        for step in steps
        for operation, magnitude in zip(step.operations.tolist(), step.magnitudes.tolist(), strict=True)
        if OPERATIONS[operation] != "Identity"
    ]
    assert abs(len(ours) - len(theirs)) < 0.05 * len(theirs)
    for name in {name for name, _ in theirs} | {name for name, _ in ours}:
        counts = [sum(one == name for one, _ in drawn) for drawn in (ours, theirs)]
        assert abs(counts[0] - counts[1]) < 5 * sum(counts) ** 0.5 + 5
        values = [{abs(value) for one, value in drawn if one == name} for drawn in (ours, theirs)]
        assert values[0] == values[1] or len(values[0] ^ values[1]) <= 1  # a level of 1 in 31 may not have come up
        negative = [sum(value < 0 for one, value in drawn if one == name) for drawn in (ours, theirs)]
        assert abs(negative[0] - negative[1]) < 5 * sum(negative) ** 0.5 + 5


def test_the_same_generator_draws_the_same_steps() -> None:
    first, second = (draw_policy("randaugment", 9, (8, 8), torch.Generator().manual_seed(4)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.operations, other.operations)
        assert torch.equal(one.magnitudes, other.magnitudes)
