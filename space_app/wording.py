"""What the page says: hints of its controls, its states, and answers as HTML."""

import html
from collections.abc import Sequence

from space_app.limits import MAX_ANSWER_SECONDS
from space_app.one_question import GivenAnswer, summary
from space_app.scene_search import Searched

WELCOME = "Choose an example, then press <b>Ask</b>: two clicks to a first answer."
SEARCH_WELCOME = "Choose an example or upload an image, write what to search for, then press <b>Search</b>."
STOPPING = '<p class="fg-note fg-busy" role="status">Stopping ...</p>'
STOPPED = '<p class="fg-note" role="status">Stopped. The image stays; ask again whenever you like.</p>'


def note_of(answer: GivenAnswer, drawn: str) -> str:
    """The state of an answer and what it comes to."""
    how = "Without a prior" if answer.anchors is None else f"With a prior of {answer.anchors} anchors"
    if answer.state == "writing":
        what = "answering ..." if answer.text else "thinking ..."
        return f'<p class="fg-note fg-busy" role="status">{how}: {what}</p>'
    # The texts of an answer are the model's, and may hold anything.
    big = html.escape(summary(answer))
    headline = f'<p class="fg-summary">{big}</p>' if big else ""
    late = f" Stopped after {MAX_ANSWER_SECONDS:.0f} seconds." if answer.state == "out of time" else ""
    return f'{headline}<p class="fg-note" role="status">{how}.{late} {html.escape(drawn)}</p>'


def waiting() -> str:
    return '<p class="fg-note fg-busy" role="status">Waiting for the model ...</p>'


def hint(text: str) -> str:
    """`text` is HTML of ours."""
    return f'<p class="fg-note" role="status">{text}</p>'


def problem(message: str) -> str:
    """`message` is escaped already."""
    return f'<p class="fg-error" role="alert"><b>This did not work.</b> {message}</p>'


def earlier(asked: Sequence[Sequence[GivenAnswer]]) -> str:
    """The questions so far, the last one first."""
    if not asked:
        return '<p class="fg-note">What you ask about this image is kept here.</p>'
    items = []
    for answers in reversed(asked):
        lines = "".join(
            f"<dd><span>{'without prior' if answer.anchors is None else f'{answer.anchors} anchors'}</span> "
            f"{html.escape(answer.text)}</dd>"
            for answer in answers
        )
        items.append(f"<dt>{html.escape(answers[0].question)}</dt>{lines}")
    return f'<dl class="fg-earlier">{"".join(items)}</dl>'


def note_of_search(searched: Searched) -> str:
    """How far a search is, and what it could not use."""
    how = "Without a prior" if searched.anchors is None else f"With a prior of {searched.anchors} anchors"
    count = f"{len(searched.scores):,} of {searched.tiles:,} tiles of {searched.side} pixels"
    if searched.state == "searching":
        return f'<p class="fg-note fg-busy" role="status">{how}: {count} ...</p>'
    late = (
        "" if searched.state == "whole" else f" Stopped after {MAX_ANSWER_SECONDS:.0f} seconds; search again to go on."
    )
    unknown = ""
    if searched.unknown:
        words = html.escape(", ".join(searched.unknown))
        unknown = f" The model does not know {words}; the rest was searched for."
    return f'<p class="fg-note" role="status">{how}: {count}.{late}{unknown}</p>'


def found_table(searched: Searched) -> str:
    """The best tiles, the best first."""
    rows: list[str] = []
    for found in searched.as_json()["found"]:
        x1, y1, x2, y2 = found["bbox_pixels"]
        place = f"pixels {x1}-{x2}, {y1}-{y2}"
        if found["centre"] is not None:
            place = "{:.5f}, {:.5f}".format(*found["centre"])
        rows.append(f"<tr><td>{found['rank']}</td><td>{found['score']:.3f}</td><td>{place}</td></tr>")
    head = "<tr><th>Rank</th><th>Score</th><th>Place</th></tr>"
    return f'<table class="fg-found"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
