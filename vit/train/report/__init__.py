"""What a run wrote -> pictures and one page to look at: `RUN/report/report.html` and the same pictures as PNG.

    contents.py   the files of a run -> what a report says
    curves.py     metrics.csv -> learning curves
    answers.py    predictions -> confusions, accuracy of each class, reliability diagram
    mistakes.py   the worst mistakes -> their pictures
    page.py       all of it -> one HTML file that needs no network
    draw.py       the whole report of a run

Everything is drawn from the run's files, so `vit report RUN` draws it again at any time.
"""

from vit.train.report.draw import draw_report

__all__ = ["draw_report"]
