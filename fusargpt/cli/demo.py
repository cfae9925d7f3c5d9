"""`fusargpt demo`: the web page of space_app, served from this machine."""

from collections.abc import Sequence

from fusargpt.checkpoints import DEFAULT, check_model_name, shipped
from fusargpt.cli.extras import needs
from fusargpt.cli.number_options import add_number_types
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Serve the page until interrupted.

    Raises:
        InputError: gradio is not installed, the model cannot be read, or the port is taken.
    """
    parser = Parser(
        prog="fusargpt demo",
        description="Serve a web page that answers questions about SAR images. Stop it with Ctrl-C.",
        epilog="The environment variable FUSARGPT_ALPHAEARTH names the AlphaEarth fields that visitors may fetch "
        "anchors from, as name=root;name=root, where a root is a folder or an http, https, s3 or gs address.",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=shipped,
        help=f"model folder, or owner/name on the Hub (default: what FUSARGPT_MODEL names, or {DEFAULT.name})",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 serves the whole network (default: %(default)s)",
    )
    parser.add_argument("--port", metavar="N", type=int, help="port to listen on (default: the first free from 7860)")
    add_number_types(parser.add_argument)
    options = parser.parse_args(arguments)
    if options.model is not None:
        check_model_name(options.model)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise InputError(f"--port: found {options.port}; expected 1 to 65535")

    with needs("the demo needs", "demo"):
        import gradio  # noqa: F401  # pyright: ignore[reportUnusedImport]  (only asked whether it is there)

    # Imports `spaces` where there is one, which has to come before torch.
    import space_app.accelerator  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from space_app.launch import chosen_model, serve

    model = chosen_model() if options.model is None else options.model
    serve(model, options.host, options.port, options.dtype, options.quantization)
