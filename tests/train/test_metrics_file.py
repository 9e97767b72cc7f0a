"""metrics.csv: every row at once, and rows taken back when a run goes on from before them."""

from pathlib import Path

from vit.train.metrics_file import MetricsFile


def test_rows_after_a_checkpoint_are_written_once(tmp_path: Path) -> None:
    unbroken, broken = MetricsFile(tmp_path / "a"), MetricsFile(tmp_path / "b")
    for log in (unbroken, broken):
        log.log_metrics({"val_loss": 0.5, "epoch": 0}, step=3)
        log.log_metrics({"train_loss": 0.25, "epoch": 0}, step=3)
    broken.log_metrics({"val_loss": 0.125, "epoch": 1}, step=7)
    with (tmp_path / "b" / "metrics.csv").open("a") as file:
        file.write("1,0.0")  # cut off
    again = MetricsFile(tmp_path / "b")
    again.keep_rows(2)
    for log in (unbroken, again):
        log.log_metrics({"val_loss": 0.125, "epoch": 1}, step=7)
    text = (tmp_path / "b" / "metrics.csv").read_text()
    assert text == (tmp_path / "a" / "metrics.csv").read_text()
    assert text.splitlines() == ["epoch,step,train_loss,val_loss", "0,3,,0.5", "0,3,0.25,", "1,7,,0.125"]


def test_a_run_that_saved_nothing_starts_its_file_anew(tmp_path: Path) -> None:
    MetricsFile(tmp_path).log_metrics({"val_loss": 1.0}, step=0)
    again = MetricsFile(tmp_path)
    again.keep_rows(0)
    assert not (tmp_path / "metrics.csv").exists()
    again.log_metrics({"loss": 2.0})
    assert (tmp_path / "metrics.csv").read_text().split() == ["loss,step", "2.0,0"]
