# pyright: reportMissingImports=false
# vLLM has an environment of its own, see docs/how-to/serve.md.
"""The entry point `vllm.general_plugins`: vLLM calls `register` in each of its processes before it reads a model."""


def register() -> None:
    """Make vLLM know FUSAR-GPT's configurations, processor and models; imports no model until one is served."""
    from vllm import ModelRegistry

    # Registers configurations and processor with the auto classes.
    import modeling_fusargpt  # noqa: F401  # pyright: ignore[reportUnusedImport]

    for name in ("FusarGptForConditionalGeneration", "FusarGptQwen3ForConditionalGeneration"):
        ModelRegistry.register_model(name, f"fusargpt.serving.vllm_model:{name}")
