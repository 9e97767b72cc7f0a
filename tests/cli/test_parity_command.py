import pytest

from vit.cli.parity import run
from vit.weights.proof import Parity


def of(relative: float) -> list[Parity]:
    return [Parity(model="timm/x", direction="read", absolute=1e-6, relative=relative, tolerance=1e-5)]


def test_a_line_is_printed_for_every_direction(capsys):
    assert run(["timm/vit_tiny_patch16_224"]) == 0
    read, written = capsys.readouterr().out.splitlines()
    assert read.startswith("timm/vit_tiny_patch16_224 read: equal, logits differ by at most ")
    assert written.startswith("timm/vit_tiny_patch16_224 written: equal")


@pytest.mark.parametrize(("relative", "code"), [(1e-6, 0), (1e-4, 1)])
def test_the_exit_code_says_whether_parity_holds(monkeypatch, capsys, relative, code):
    monkeypatch.setattr("vit.cli.parity.parity", lambda *_, **__: of(relative))
    assert run(["timm/x", "timm/y"]) == code
    assert ("DIFFERENT" in capsys.readouterr().out) == (code == 1)


def test_a_name_without_a_library_is_refused():
    with pytest.raises(ValueError, match=r"'timm' is not LIBRARY/ARCHITECTURE; timm/vit_tiny_patch16_224 is"):
        run(["timm"])
