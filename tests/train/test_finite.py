"""What is no number is found: at once on a CPU, and elsewhere before anything is kept."""

import pytest
import torch
from torch import Tensor

from vit.train.finite import LossWatch, NotFiniteError, require_finite


class Elsewhere(Tensor):
    """A number that says it lies on a device, which computes while the host goes on."""

    @property
    def device(self) -> torch.device:  # pyright: ignore
        return torch.device("cuda")


def elsewhere(value: float) -> Tensor:
    return torch.tensor(value).as_subclass(Elsewhere)


def test_a_loss_on_the_cpu_is_looked_at_before_the_step() -> None:
    watch = LossWatch()
    watch.see(torch.tensor(1.0), 0, lambda: 0.1)
    with pytest.raises(NotFiniteError, match=r"the loss is inf at step 1, learning rate 0\.1; lower model\.recipe"):
        watch.see(torch.tensor(torch.inf), 1, lambda: 0.1)


def test_losses_on_a_device_are_looked_at_together_and_the_first_bad_one_is_named() -> None:
    watch = LossWatch()

    def see(step: int) -> None:
        watch.see(elsewhere(torch.nan if step >= 7 else 1.0), step, lambda: step / 1000)

    for step in range(49):
        see(step)
    with pytest.raises(NotFiniteError, match=r"the loss is nan at step 7, learning rate 0\.007;"):
        see(49)


def test_the_images_of_the_first_bad_batch_are_named_and_asked_for_only_then() -> None:
    watch, asked = LossWatch(), list[int]()

    def images(step: int) -> str:
        asked.append(step)
        return f"photo-{step}.jpg and 7 more"

    for step in range(5):
        watch.see(elsewhere(torch.nan if step >= 3 else 1.0), step, lambda: 0.1, lambda step=step: images(step))
    with pytest.raises(
        NotFiniteError, match=r"at step 3, learning rate 0\.1, of a batch of photo-3\.jpg and 7 more; lower"
    ):
        watch.look()
    assert asked == [3]


def test_a_look_in_between_finds_what_is_pending_and_forgets_it() -> None:
    watch = LossWatch()
    watch.see(elsewhere(torch.nan), 3, lambda: 0.1)
    with pytest.raises(NotFiniteError, match="at step 3"):
        watch.look()
    watch.look()


def test_one_weight_that_is_no_number_is_found_among_all() -> None:
    weights = [torch.zeros(3), torch.zeros(2, 5)]
    require_finite(weights, 4, 0.1)
    require_finite([], 4, 0.1)
    weights[1][1, 4] = torch.inf
    with pytest.raises(
        NotFiniteError, match=r"no numbers any more after step 4, learning rate 0\.1; .*gradient_clip_val"
    ):
        require_finite(weights, 4, 0.1)
