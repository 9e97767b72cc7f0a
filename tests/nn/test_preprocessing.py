"""The numbers that travel with the weights."""

import pytest

from vit.nn import Preprocessing

GREY = {"image_size": (8, 8), "mean": (0.5,), "std": (0.25,)}


def test_channels_are_as_many_as_means() -> None:
    assert Preprocessing(**GREY).channels == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"std": (0.2, 0.3)}, "must have one number for each channel"),
        ({"std": (0.0,)}, "must be above 0 in every channel"),
        ({"crop_pct": 0.0}, "crop_pct=0.0 must be above 0 and at most 1"),
        ({"crop_pct": 1.2}, "crop_pct=1.2 must be above 0 and at most 1"),
    ],
)
def test_a_wrong_number_is_named(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Preprocessing(**{**GREY, **wrong})
