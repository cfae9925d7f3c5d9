"""What the page says: hints of its controls, its states, and answers as HTML."""

import html
from collections.abc import Sequence

from space_app.limits import MAX_ANSWER_SECONDS
from space_app.one_question import GivenAnswer, summary

WELCOME = "Choose an example, then press <b>Ask</b>: two clicks to a first answer."
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
