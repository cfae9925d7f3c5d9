"""The libraries that load a model, told to say nothing but errors: what a program prints is then its own."""

import huggingface_hub.utils.logging
import transformers.utils.logging


def quiet_libraries() -> None:
    """For the rest of the process: no warnings of transformers and the Hub's client, no bars of transformers."""
    huggingface_hub.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
