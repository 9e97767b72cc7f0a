"""What people read of a comparison."""

from vit.compare.difference import Difference
from vit.compare.results import Result
from vit.compare.table import in_words, table


def result(name: str = "ours", seed: int = 0, accuracy: float = 0.9, speed: float | None = 1234.5) -> Result:
    return Result(
        name=name,
        seed=seed,
        test_accuracy=accuracy,
        test_images=360,
        parameters=1234567,
        seconds=12.4,
        images_per_second=speed,
    )


def found(points: float, low: float, high: float, seeds: int = 1) -> Difference:
    return Difference(points=points, low=low, high=high, seeds=seeds, images=3600, only_first=7.0, only_second=4.0)


def test_a_table_of_several_seeds_has_mean_and_standard_deviation() -> None:
    results = [
        result(accuracy=0.98, speed=100.0),
        result(seed=1, accuracy=0.96, speed=300.0),
        result(seed=2, accuracy=0.97, speed=None),  # gone on with after its last epoch
        result("timm", accuracy=0.5, speed=None),
    ]
    lines = table(results, {}).splitlines()
    assert lines[0].split("|")[1].strip() == "model"
    # standard deviation of 96, 97 and 98
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("ours", "97.00 ± 1.00 % (3 seeds)", "1,234,567", "12 s", "200 images/s")
    ]
    assert lines[3].startswith("| timm")
    assert len({len(line) for line in lines}) == 1


def test_a_single_run_has_the_interval_of_its_test_images() -> None:
    assert "90.00 % (86.5 to 92.7)" in table([result()], {})


def test_a_difference_stands_below_the_table() -> None:
    written = table([result(), result("timm")], {"timm": found(0.083, -0.1, 0.25)})
    assert written.endswith(
        "\n\nours minus timm: +0.08 points (95 % interval -0.10 to +0.25): which images were asked may have "
        "made it. Of 3,600 images ours alone has 7 right, timm alone 4. What another seed gives, one run does not "
        "show; --seeds 5 does.\n"
    )


def test_a_verdict_goes_by_the_interval() -> None:
    assert "over 5 seeds and 3,600 images: more than chance would do." in in_words("timm", found(-2.0, -3.0, -1.0, 5))
    assert "over 5 seeds and 3,600 images: no more than chance may do." in in_words("timm", found(-2.0, -3.0, 1.0, 5))
    assert "on other images of this kind, too" in in_words("timm", found(2.0, 1.0, 3.0))
