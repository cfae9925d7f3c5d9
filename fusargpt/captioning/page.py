"""The page of a run: images, the claims of each stage, and what calibration changed. It loads nothing from anywhere."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from fusargpt.captioning.claims import LANDFORM, TARGET
from fusargpt.captioning.sources import CaptionItem, Seen

_LARGEST_SIDE = 560  # pixels of a picture on the page
_TEMPLATE = "page.html.jinja"


def write_page(
    path: Path,
    count: int,
    shown: Iterable[tuple[CaptionItem, Seen | None]],
    traces: Mapping[str, Any],
    backend: str,
    stages: Sequence[str],
) -> None:
    """Write the page of some images.

    Args:
        path: of the file.
        count: of all images that were captioned.
        shown: the images on it.
        traces: of all images, by id, as `trace.jsonl` has them.
        backend: what made them.
        stages: that ran.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    images = [_image(item, seen, traces[item.id]) for item, seen in shown if seen is not None]
    html = environment.get_template(_TEMPLATE).render(
        backend=backend, stages=stages, images=images, count=count, changed=_changed(traces), said=_said(traces, count)
    )
    # A model may write anything, lone surrogates too.
    path.write_text(html, encoding="utf-8", errors="replace")


def _image(item: CaptionItem, seen: Seen, trace: Mapping[str, Any]) -> dict[str, Any]:
    picture = seen.observation.image
    shrink = max(1.0, max(picture.size) / _LARGEST_SIDE)
    small = picture.resize((round(picture.width / shrink), round(picture.height / shrink)), Image.Resampling.BOX)
    encoded = io.BytesIO()
    small.save(encoded, format="PNG")
    return {
        "id": item.id,
        "width": picture.width,
        "height": picture.height,
        "source": f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}",
        "boxes": _boxes(trace),
        "steps": trace["steps"],
        "parts": _parts(trace),
        "changes": trace["steps"][-1]["changes"],
    }


def _boxes(trace: Mapping[str, Any]) -> list[tuple[float, float, float, float, str]]:
    """x, y, width, height and class of the targets that the last count counts."""
    counted = [
        claim["facts"].get("targets", [])
        for step in trace["steps"]
        for claim in step["claims"]
        if (claim["schema"], claim["dimension"]) == ("target", "count")
    ]
    corners = [(*item["bbox_2d"], item["label"]) for item in (counted[-1] if counted else [])]
    return [(x1, y1, x2 - x1, y2 - y1, label) for x1, y1, x2, y2, label in corners]


def _parts(trace: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Both schemas, each part with all that was claimed of it in turn; the last is what is held to be true."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for title, schema, names, column in (
        ("Place", "landform", LANDFORM, "description"),
        ("Targets", "target", TARGET, "target_description"),
    ):
        rows = []
        for name in names:
            turns = [
                {"stage": step["stage"], **claim}
                for step in trace["steps"]
                for claim in step["claims"]
                if (claim["schema"], claim["dimension"]) == (schema, name)
            ]
            final = (trace[column] or {}).get(name)
            reason = next(
                (
                    change["reason"]
                    for step in reversed(trace["steps"])
                    for change in reversed(step["changes"])
                    if (change["schema"], change["dimension"]) == (schema, name)
                ),
                "",
            )
            earlier = list(dict.fromkeys(turn["text"] for turn in turns if turn["text"] != final))
            last = turns[-1] if turns else None
            rows.append({"name": name, "final": final, "earlier": earlier, "reason": reason, "last": last})
        found.append((title, rows))
    return found


def _changed(traces: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By dimension, how many claims the last stage corrected and dropped."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    for trace in traces.values():
        for change in trace["steps"][-1]["changes"]:
            counts[change["schema"], change["dimension"], change["after"] is None] += 1
    return [
        {
            "schema": schema,
            "name": name,
            "corrected": counts[schema, name, False],
            "dropped": counts[schema, name, True],
        }
        for schema, names in (("landform", LANDFORM), ("target", TARGET))
        for name in names
        if counts[schema, name, False] or counts[schema, name, True]
    ]


def _said(traces: Mapping[str, Any], count: int) -> list[tuple[str, list[tuple[str, float]]]]:
    """By schema, the share of images of which something is said in each dimension."""
    return [
        (
            title,
            [
                (name, sum((trace[column] or {}).get(name) is not None for trace in traces.values()) / max(count, 1))
                for name in names
            ],
        )
        for title, column, names in (("Place", "description", LANDFORM), ("Targets", "target_description", TARGET))
    ]
