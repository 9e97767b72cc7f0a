"""What all tests share: one thread, a fixed seed, warnings as errors (pyproject.toml), shapes checked (jaxtyping)."""

import pytest
import torch

# two busy cores made ten tiny training steps take 10 s; one thread takes 0.06 s
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test() -> None:
    torch.manual_seed(0)
