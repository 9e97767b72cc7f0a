"""Names in any script can be put on a picture."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit import lettering
from vit.lettering import drawable


def test_what_the_fonts_have_stays_as_it_is() -> None:
    assert drawable("Łódź, été, Москва, αβγ 12 %") == "Łódź, été, Москва, αβγ 12 %"


def test_what_no_font_has_becomes_its_code_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_characters", lambda: frozenset(map(ord, "cat ")))
    assert drawable("cat 猫") == r"cat \u732b"
    assert drawable("🐈\n") == r"\U0001f408\u000a"


def test_a_figure_with_any_name_is_drawn_without_a_warning() -> None:
    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    with lettering.lettering():
        figure.suptitle(drawable("猫 🐈 ネコ 고양이 \u0000 $x_$ बिल्ली"))
    canvas.draw()
