"""The controls that say how a visitor's file is to be read; each page of the tabs has its own."""

from typing import Any

import gradio as gr

STORED_CHOICES = [
    ("As the file says", ""),
    ("Grey levels", "grey"),
    ("Decibels", "decibels"),
    ("Amplitude", "amplitude"),
    ("Power", "power"),
    ("Complex: I and Q", "iq"),
]


def reading_controls() -> dict[str, Any]:
    """By the names of the fields of `space_app.inputs.Told` beside the band."""
    made: dict[str, Any] = {}
    with gr.Accordion("How the file is read", open=False):
        made["stored"] = gr.Dropdown(
            STORED_CHOICES, value="", label="Values", info="What was assumed stands below the image."
        )
        made["nodata"] = gr.Textbox(
            "", label="Nodata", info="Marks pixels without data; none: no value does.", max_lines=1
        )
        made["crs"] = gr.Textbox("", label="CRS", info="Of the file's transform.", placeholder="EPSG:32611")
        made["height_m"] = gr.Number(None, label="Height", info="Of the ground in metres, for files with RPCs.")
        made["polarization"] = gr.Textbox("", label="Polarization", info="Of the band to read.", placeholder="VV")
    return made
