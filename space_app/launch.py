"""The page on the network: which model, on which address, until interrupted."""

import os
import signal
import sys
from pathlib import Path

import gradio as gr
from gradio.themes import Default

from fusargpt.checkpoints import DEFAULT, KLIP_NANO
from fusargpt.embedding.embedder import Embedder
from fusargpt.errors import InputError
from fusargpt.inference.loading import load
from fusargpt.inference.number_types import Dtype, Quantization
from fusargpt.inference.quiet import quiet_libraries
from space_app.demo import Demo
from space_app.fields import EXAMPLES, offered_roots, open_fields
from space_app.interface import build
from space_app.limits import MAX_UPLOAD_BYTES, SESSIONS, Scratch
from space_app.scene_search import SceneSearch
from space_app.scenes import READER

MODEL_VARIABLE = "FUSARGPT_MODEL"
KLIP_VARIABLE = "FUSARGPT_KLIP_MODEL"
# System fonts: the page asks no other server for anything.
THEME = Default(
    primary_hue="orange",
    secondary_hue="orange",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # Gradio's own hints and buttons are paler than text should be (WCAG: 4.5 to 1).
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
)
STYLE = Path(__file__).with_name("page.css")


def chosen_model() -> str:
    """What FUSARGPT_MODEL names, or the folder of the default."""
    return os.environ.get(MODEL_VARIABLE, str(DEFAULT))


def chosen_searcher() -> str | None:
    """What FUSARGPT_KLIP_MODEL names, or the folder of fusarklip-nano; None where neither is there."""
    named = os.environ.get(KLIP_VARIABLE)
    return named or (str(KLIP_NANO) if KLIP_NANO.is_dir() else None)


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, wait: bool = True) -> str:
    """Serve `page` and return its address, with `wait` only after it was told and the page was closed.

    `host` and `port` are Gradio's own choice when None: 127.0.0.1 or what a Space sets, and the first free port from
    7860 on.

    Raises:
        InputError: the port is taken, or the host is not one of this machine.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            # Gradio's own lines advertise a public link, which nobody asked for.
            quiet=True,
            max_file_size=MAX_UPLOAD_BYTES,
            state_session_capacity=SESSIONS,
            allowed_paths=[str(EXAMPLES)],
            theme=THEME,
            css_paths=STYLE,
            footer_links=["api"],
            # Until the pinned gradio has the fix of CVE-2026-134825.
            run_history=False,
            ssr_mode=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise InputError(f"cannot serve on {host} port {port}: {error}") from error
    if wait:
        print(f"Serving on {address} (stop with Ctrl-C)", flush=True)
        page.block_thread()
    return address


def serve(
    model: str,
    host: str | None = None,
    port: int | None = None,
    dtype: Dtype | None = None,
    quantization: Quantization = "none",
) -> None:
    """Load a model, as `load` does, and serve its page until interrupted; raises what `load`, `offered_roots` and
    `launch` raise."""
    quiet_libraries()
    # They load beside the model.
    READER.start()
    fields = open_fields(offered_roots())
    scratch = Scratch()
    # What visitors upload lies where it is removed with the process.
    os.environ.setdefault("GRADIO_TEMP_DIR", str(scratch.root / "uploads"))
    # A folder by its name alone: visitors need not know where it is kept.
    name = Path(model).name if Path(model).is_dir() else model
    # Containers are ended by this signal; files are cleared away as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    searcher = chosen_searcher()
    predictor = load(model, dtype=dtype, quantization=quantization)
    scene_search = None if searcher is None else SceneSearch(Embedder.load(searcher))
    launch(build(Demo(predictor, name, fields, scratch=scratch, scene_search=scene_search)), host, port)
