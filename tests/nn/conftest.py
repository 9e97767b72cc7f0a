"""What the tests of the backbone share."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch


@pytest.fixture
def _annotations_unchecked() -> Iterator[None]:
    """As outside tests, where annotations are not enforced: the compiler cannot look into their checks, and the errors
    that a caller meets are our own sentences."""
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
