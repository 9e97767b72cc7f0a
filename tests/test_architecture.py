"""What is imported when: looking at help or predicting must not cost seconds of imports."""

import subprocess
import sys

import pytest

HEAVY = ("lightning", "timm", "torchvision", "torchmetrics")


def imported_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after some code."""
    last = "import sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{last}"], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    ["import vit", "from vit.cli import main; main(['--help'])", "from vit.cli import main; main(['--version'])"],
)
def test_import_and_help_need_nothing_heavy(code: str) -> None:
    assert not imported_by(code) & {"torch", "numpy", "PIL", *HEAVY}


@pytest.mark.slow  # a fresh import of torch
def test_predicting_and_explaining_import_no_training() -> None:
    found = imported_by("import vit.cli.predict, vit.cli.explain, vit.cli.explain_draw, vit.explain.draw.xray")
    assert "torch" in found  # so that this test can fail
    assert not found & set(HEAVY)


@pytest.mark.slow  # a fresh import of torch
def test_the_backbone_needs_only_torch_and_einops() -> None:
    found = imported_by("from vit.nn import ViT, ViTConfig")
    assert "einops" in found
    assert not found & {*HEAVY, "PIL", "matplotlib", "sklearn", "jsonargparse"}


def test_the_public_names_are_there() -> None:
    import vit
    from vit import Predictor, ViT, ViTConfig, load_model, rollout

    assert all(callable(name) for name in (Predictor, ViT, ViTConfig, load_model, rollout))
    assert all(getattr(vit, name) is not None for name in vit.__all__)


@pytest.mark.slow  # a fresh import of torch
@pytest.mark.parametrize("before", ["", "from vit import rollout; "])
def test_vit_explain_is_the_package_whatever_was_imported_before(before: str) -> None:
    code = f"{before}import vit; assert vit.explain.explain.__name__ == 'explain'; from vit.explain import explain"
    assert imported_by(f"{code}; assert explain is vit.explain.explain") >= {"torch"}


def test_a_name_that_is_not_public_is_refused_with_those_that_are() -> None:
    import vit

    with pytest.raises(AttributeError, match=r"module 'vit' has no attribute 'ViTT'; it has .*ViT, ViTConfig"):
        vit.ViTT  # noqa: B018  # pyright: ignore


@pytest.mark.slow  # a fresh import of torch
def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "vit", "frobnicate"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no command 'frobnicate'; known are: ")
    assert done.stderr.count("\n") == 1
