"""What the page says: hints of its controls, its states, and answers as HTML."""

import html
from collections.abc import Sequence

import numpy as np

from fusargpt.inference.confidences import CALIBRATED, RAW
from fusargpt.scenes.layers import Place
from space_app.limits import MAX_ANSWER_SECONDS
from space_app.one_question import GivenAnswer, summary
from space_app.scene_search import Searched
from space_app.whole_scene import AskedScene

WELCOME = "Choose an example, then press <b>Ask</b>: two clicks to a first answer."
SEARCH_WELCOME = "Choose an example or upload an image, write what to search for, then press <b>Search</b>."
SCENE_WELCOME = "Choose an example or upload a scene, draw an area on it or take all of it, then <b>Ask all tiles</b>."
STOPPING = '<p class="fg-note fg-busy" role="status">Stopping ...</p>'
LISTED = 100
"""Places in the table below a scene."""
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
    return f'{headline}<p class="fg-note" role="status">{how}.{late} {html.escape(drawn)}{_sureness(answer)}</p>'


def _sureness(answer: GivenAnswer) -> str:
    """How sure the model was, in a sentence with a space before it; "" where it does not say."""
    if answer.confidence is None:
        return ""
    interval = ""
    if answer.interval is not None:
        low, high = answer.interval
        interval = (
            f", 90 % of its probability on {low}" if low == high else f", 90 % of its probability from {low} to {high}"
        )
    return f" Confidence {answer.confidence:.2f}{interval} ({CALIBRATED if answer.calibrated else RAW})."


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


def note_of_scene(asked: AskedScene) -> str:
    """How far a scene is asked, what it comes to, and what was not understood."""
    how = f"With a prior of {html.escape(asked.field)}" if asked.field else "Without a prior"
    count = f"{asked.answered:,} of {asked.tiles:,} tiles of {asked.side} pixels"
    if asked.state == "asking":
        return f'<p class="fg-note fg-busy" role="status">{how}: {count} ...</p>'
    late = "" if asked.state == "whole" else f" Stopped after {MAX_ANSWER_SECONDS:.0f} seconds; ask again to go on."
    unread = f" {len(asked.problems)} of the answers could not be read in whole." if asked.problems else ""
    headline = f'<p class="fg-summary">{html.escape(asked.summary)}</p>'
    sure = "" if asked.confidences is None else f" Scores and confidences: {asked.confidences}."
    return f'{headline}<p class="fg-note" role="status">{how}: {count}.{late}{unread}{sure}</p>'


def places_table(asked: AskedScene) -> str:
    """The places that have something to say, at most 100 of them."""
    said = [place for place in asked.places if _said(place)]
    if not said:
        return ""
    rows: list[str] = []
    for place in said[:LISTED]:
        x1, y1, x2, y2 = (round(edge) for edge in place.box)
        where = f"pixels {x1}-{x2}, {y1}-{y2}"
        if asked.scene.geometry is not None:
            middle = np.array([[(place.box[0] + place.box[2]) / 2, (place.box[1] + place.box[3]) / 2]])
            where = "{:.5f}, {:.5f}".format(*asked.scene.geometry.to_lonlat(middle)[0])
        rows.append(f"<tr><td>{html.escape(_said(place))}</td><td>{where}</td></tr>")
    more = f'<p class="fg-note">{len(said) - LISTED:,} more are in the files.</p>' if len(said) > LISTED else ""
    head = "<tr><th>What</th><th>Where</th></tr>"
    return f'<table class="fg-found"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>{more}'


def _said(place: Place) -> str:
    """What the model said of a place; "" where it said that nothing is there."""
    told = place.properties
    if "kind" not in told:
        score = f", {told['score']:.2f}" if "score" in told else ""
        return f"{told['label']}{score}"
    if told["kind"] == "cell":
        return f"cell {told['cell']} of tile {told['tile']}"
    if "count" in told:
        low, high = (told.get(name, told["count"]) for name in ("count_low", "count_high"))
        within = f" ({low} to {high})" if low != high else ""
        return f"{told['count']}{within}" if told["count"] else ""
    if "class" in told:
        return "" if told["class"] in (None, "none") else told["class"]
    return told.get("description", "")


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
