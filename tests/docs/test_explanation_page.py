"""What docs/explanation.md shows works as it is written there, and its table has every method."""

import re
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from matplotlib.cbook import get_sample_data

from vit.cli import main
from vit.cli.explain_flags import KINDS
from vit.explain import METHODS
from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, save_model

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explanation.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_of_the_page_runs_from_top_to_bottom() -> None:
    names: dict[str, object] = {}
    of_methods, of_functions, of_trust, of_pictures = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(of_methods, names)
    assert names["found"].maps.shape == names["relevance"].maps.shape == (2, 14, 14)
    assert names["relevance"].target.tolist() == [3, 3]
    exec(of_functions, names)
    assert names["matrix"].shape == (2, 197, 197)
    exec(of_trust, names)
    assert list(names["gaps"]) == ["rollout", "chefer", "chance", "centre", "energy"]  # type: ignore[call-overload]
    assert "2 images are too few" in names["said"][0]  # type: ignore[index]
    assert names["alike"].shape == (2,)
    exec(of_pictures, names)
    shapes = [tuple(names[name].shape) for name in ("maps", "grown", "distance")]  # type: ignore[attr-defined]
    assert shapes == [(2, 12, 3, 14, 14), (2, 12, 14, 14), (12, 3)]


@pytest.fixture
def where_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., str]) -> None:
    """A folder that has what the commands of the page are given, with a small model for every model."""
    config = ViTConfig(image_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=300)
    classes = ("cat", "tabby cat", *(f"class {number}" for number in range(2, 300)))
    preprocessing = Preprocessing(image_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    card = ModelCard(config=config, classes=classes, preprocessing=preprocessing)
    for folder in ("MODEL", "runs/NAME/model", "runs/cifar10-cpu/model", "WEIGHTS"):
        save_model(ViT(config), card, tmp_path / folder)
    paths = [f"{folder}/{number}.png" for folder in ("PHOTOS", "photos", "cifar10-test") for number in range(2)]
    for seed, path in enumerate([*paths, "cat.jpg"]):
        write_image(path, (32, 32), "RGB", seed)
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,wnid", *(f"{path},cat,cat" for path in paths)]) + "\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("where_commands_run")
def test_every_command_of_the_page_runs_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    assert len(commands) == 10
    for words in commands:
        assert words[:2] == ["vit", "explain"]
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)


def test_the_table_names_every_method_its_settings_and_what_it_claims() -> None:
    table = PAGE.partition("## Methods")[2].partition("## Conventions")[0]
    rows = dict(re.findall(r"^\| `(?!method)(\w+)` \| (.*)$", table, flags=re.MULTILINE))
    assert list(rows) == list(METHODS)
    for name, method in METHODS.items():
        _, of_class, settings, *_ = rows[name].split(" | ")
        assert of_class == ("no" if not method.class_specific else "yes, signed" if method.signed else "yes"), name
        assert re.findall(r"`(\w+)", settings) == list(method.settings), name


def test_the_page_has_every_kind_of_picture() -> None:
    assert all(f"`--{kind}`" in PAGE for kind in KINDS)


def test_the_gallery_shows_pictures_that_are_there_and_small() -> None:
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = [DOCS / name for name in re.findall(r"\((images/\S+)\)", gallery)]
    assert len(shown) == 8
    assert sum(path.stat().st_size for path in shown) < 1e6


def test_the_gallery_is_of_photographs_that_dependencies_ship_and_says_whose_they_are() -> None:
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    explained = re.findall(r"^vit explain ((?:\S+\.jpg )+)", gallery, flags=re.MULTILINE)
    assert len(explained) == 8
    assert {name for names in explained for name in names.split()} == {"grace_hopper.jpg", "china.jpg", "flower.jpg"}
    assert Path(get_sample_data("grace_hopper.jpg", asfileobj=False)).is_file()
    folder = files("sklearn.datasets.images")
    assert all((folder / name).is_file() for name in ("china.jpg", "flower.jpg"))
    sources = re.findall(
        r"https://www\.flickr\.com/photos/\w+/\d+", (folder / "README.txt").read_text(encoding="utf-8")
    )
    assert len(sources) == 2
    assert all(source in gallery for source in [*sources, "CC BY 2.0", "public domain"])
