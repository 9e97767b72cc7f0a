"""all of it -> one HTML file that needs no network: pictures inside, in a light and a dark dress, readable aloud."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vit.train.report.contents import Answers, interval, percent
from vit.train.report.mistakes import Mistake, words_of

META = """<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">"""
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #5c6570; --line: #d5d9de; --card: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --paper: #15181b; --soft: #a3abb5; --line: #363c43; --card: #1e2226; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; color: var(--soft); }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; font-weight: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dd { margin: 0; }
dt, figcaption { color: var(--soft); }
figure { margin: 1.5rem 0; }
figure > img { max-width: 100%; background: #fff; border-radius: 6px; padding: 6px; box-sizing: border-box; }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; padding: 0; }
.mistakes li { list-style: none; background: var(--card); border-radius: 6px; padding: .5rem; font-size: .85rem; }
.mistakes img { width: 100%; border-radius: 3px; } .small { image-rendering: pixelated; } .soft { color: var(--soft); }
"""

OUTDATED = (
    "These figures are not of the model as it is now: it has been trained or replaced since. `vit test` measures it."
)


@dataclass(frozen=True)
class Picture:
    """A figure that was drawn."""

    name: str
    png: bytes
    words: str
    """What it shows, for those who cannot see it, and below it."""


@dataclass(frozen=True)
class Section:
    """What is said about one part of the data."""

    answers: Answers
    pictures: Sequence[Picture]
    mistakes: Sequence[Mistake]


def write_page(
    path: Path, name: str, story: Sequence[Mapping[str, Any]], curves: Sequence[Picture], sections: Sequence[Section]
) -> Path:
    """Write the page, whole or not at all."""
    body = [f"<h1>{_text(name)}</h1>", *_story(story)]
    body += ["<h2>Training</h2>", *map(_figure, curves)] if curves else []
    for section in sections:
        body += _section(section)
    head = f"<title>{_text(name)}</title>\n<style>{STYLE}</style>"
    contents = "\n".join(body)
    page = f'<!doctype html>\n<html lang="en">\n<head>\n{META}\n{head}\n</head>\n<body>\n{contents}\n</body>\n</html>\n'
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(page, encoding="utf-8", errors="replace")
    unfinished.replace(path)
    return path


def _text(words: object) -> str:
    return escape(str(words))


def _story(story: Sequence[Mapping[str, Any]]) -> list[str]:
    """What made the run, of its last start."""
    if not story:
        return []
    last = story[-1]
    hardware = last["hardware"]
    parts = last["data"]["parts"]
    facts = {
        "command": last["command"],
        "started": f"{last['started']}, {len(story)} times in all" if len(story) > 1 else last["started"],
        "ended": f"{last['ended']}, {last['how']}, after {last['steps']:,} steps" if "ended" in last else "not yet",
        "seed": last["seed"],
        "data": ", ".join(f"{name} {part['images']:,} images" for name, part in parts.items())
        + f", {len(last['data']['classes']):,} classes",
        "parameters": f"{last['parameters']:,}",
        "precision": last["precision"],
        "hardware": ", ".join(hardware["gpus"] or [f"{hardware['cpu']}, threads: {hardware['threads']}"]),
        "git commit": _commit(last["git"]),
        "plain-vit": f"{last['plain-vit']['version']}, git commit: {_commit(last['plain-vit']['git'])}",
        "versions": ", ".join(f"{name} {number}" for name, number in last["versions"].items()),
    }
    return ["<dl>", *(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items()), "</dl>"]


def _commit(state: Mapping[str, Any] | None) -> str:
    """Of `git_state`, in words."""
    return f"{state['commit']}{', changed since' if state['changed'] else ''}" if state else "none"


def _section(section: Section) -> list[str]:
    answers = section.answers
    title, look = answers.title.capitalize(), answers.look
    weights = f", weights {look['weights']}" if look.get("weights") else ""
    weights += f" after {look['steps']:,} steps" if look.get("steps") else ""
    body = [f"<h2>{title}</h2>", f"<p>{look['images']:,} images, measured {_text(look['time'])}{_text(weights)}.</p>"]
    if not answers.is_current:
        body.append(f"<p><strong>{OUTDATED}</strong></p>")
    if answers.looks > 1:
        body.append(f"<p>The test images were looked at {answers.looks} times: choose nothing by them.</p>")
    body += [_figures(answers), *map(_figure, section.pictures), *_confused(answers), _classes(answers)]
    if section.mistakes:
        body += [f"<h3>Worst mistakes, {answers.title}</h3>", '<ul class="mistakes">']
        body += [*map(_mistake, section.mistakes), "</ul>"]
    return body


def _figures(answers: Answers) -> str:
    measures = answers.measures
    k = measures["k"]
    rows = [("top-1 accuracy", "top_1"), (f"top-{k} accuracy", "top_k"), ("macro accuracy", "macro_recall")]
    rows += [("macro precision", "macro_precision"), ("macro F1", "macro_f1"), ("ECE, 15 bins", "ece")]
    cells = [(words, percent(measures[name]["value"], 2), interval(measures[name], 2)) for words, name in rows]
    for words, name in (("NLL, nats", "nll"), ("Brier score", "brier")):
        one = measures[name]
        cells.append((words, f"{one['value']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}"))
    return _table(f"Figures of all {answers.title} images", ("", "value", "95 % interval"), cells)


def _confused(answers: Answers) -> list[str]:
    pairs = answers.most_confused(10)
    rows = [(label, answer, f"{count:,}", percent(count / images)) for label, answer, count, images in pairs]
    head = ("label", "answer", "images", "share of the label's")
    return [_table("Most often confused", head, rows)] if rows else []


def _classes(answers: Answers) -> str:
    rows = [
        (
            one["name"],
            f"{one['images']:,}",
            percent(one["recall"]["value"]),
            interval(one["recall"]),
            percent(one["precision"]["value"]) if one["precision"] else "none",
            percent(one["f1"]),
        )
        for one in answers.of_classes
    ]
    head = ("class", "images", "accuracy", "95 % interval", "precision", "F1")
    table = _table("Precision: share of right ones among the images that got this answer", head, rows)
    state = " open" if len(rows) <= 20 else ""
    return f"<details{state}><summary>Each of the {len(rows):,} classes</summary>\n{table}\n</details>"


def _table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    body = "\n".join(_row(*row) for row in rows)
    top = f"<caption>{_text(caption)}</caption>\n<thead><tr>{columns}</tr></thead>"
    return f"<table>{top}\n<tbody>\n{body}\n</tbody></table>"


def _row(name: str, *cells: str) -> str:
    return f'<tr><th scope="row">{_text(name)}</th>' + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _figure(picture: Picture) -> str:
    words = _text(picture.words.replace(r"\$", "$"))
    return f'<figure><img src="{_embedded(picture.png, "png")}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _mistake(mistake: Mistake) -> str:
    small = max(mistake.picture.size) < 128
    content = io.BytesIO()
    if small:
        mistake.picture.save(content, "PNG")
    else:
        mistake.picture.save(content, "JPEG", quality=85)
    words, kind = _text(words_of(mistake)), "png" if small else "jpeg"
    dress = ' class="small"' if small else ""
    name = _text(Path(mistake.name).name)
    return (
        f'<li><img{dress} src="{_embedded(content.getvalue(), kind)}" alt="Image {name}: {words}">'
        f'<br>{words}<br><span class="soft">{name}</span></li>'
    )


def _embedded(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
