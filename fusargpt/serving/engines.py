"""What a batch runs its model in: transformers, or vLLM where it is installed."""

import importlib.util
from importlib.metadata import version

from fusargpt.errors import InputError
from fusargpt.inference.predict import FusarGpt

ENGINES = ("auto", "transformers", "vllm")


def choose_engine(name: str) -> str:
    """ "transformers" or "vllm"; "auto" takes vLLM where it is installed. InputError for one that is not."""
    is_there = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not is_there:
        raise InputError(
            "engine: found 'vllm', which is not installed; docs/how-to/serve.md says how, or take transformers"
        )
    return name if name != "auto" else "vllm" if is_there else "transformers"


def engine_version(engine: str) -> str:
    """The engine and its release, as it is printed. vLLM's builds go by several names."""
    if engine == "vllm":
        # Only where it is installed, in an environment of its own.
        import vllm  # pyright: ignore[reportMissingImports]

        return f"vllm {vllm.__version__}"
    return f"transformers {version('transformers')}"


def load_engine(engine: str, model: str) -> FusarGpt:
    """The model in the engine; raises InputError as `inference.loading.load` and `vllm_engine.load_vllm` do."""
    if engine == "vllm":
        from fusargpt.serving.vllm_engine import load_vllm

        return load_vllm(model)
    from fusargpt.inference.loading import load

    return load(model)
