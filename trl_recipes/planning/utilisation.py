"""What share of a GPU's peak training reaches where nobody has said it: by micro-batch, attention and what is trained.

Three stages were run on an H100 (benchmarks/results/training_7b.json), with the windows of the tower attended one by
one. They waited for kernels to be launched, which takes the same time however large the kernels are. So the time of a
micro-batch is that of launching its operators, of launching the windows of each image where they are attended one by
one, and of its products at `PRODUCTS` of the peak. What was run is told as it was measured, all else as it is modelled,
and a model never promises more than `MOST`.
"""

from dataclasses import dataclass
from typing import Literal

Basis = Literal["given", "measured", "modelled"]

PRODUCTS = 0.78
"""Of the peak: what is left for products of the 2,934 ms of stage 2, 4 x 4, if 16 x 1 takes 2.3 times less of it."""
MOST = 0.35
"""The goal for the recipes, which no run has reached yet."""
WINDOWS_SECONDS = 0.022
"""To launch the windows of an image of 504 x 504 pixels one by one; so that 16 x 1 takes 3.2 times less without it."""
ONE_BY_ONE = ("sdpa", "eager")
"""Attentions that take the windows so."""


@dataclass(frozen=True)
class Conditions:
    """What the share depends on.

    Attributes:
        gpu: name in `GPUS`.
        layers: of the language model, and about as many of the tower: what is launched grows with them.
        sequences: in a micro-batch, with an image each.
        attention: as the recipe names it.
        checkpointing: of activations.
        trains_adapter: LoRA, with or without the TLM, or weights of the language model; else the TLM alone.
        quantized: language model in 4 bits.
        cached: visual tokens come from a cache.
    """

    gpu: str
    layers: int
    sequences: int
    attention: str
    checkpointing: bool
    trains_adapter: bool
    quantized: bool
    cached: bool


@dataclass(frozen=True)
class Utilisation:
    """A share of the peak, recomputed products included, and where it comes from."""

    share: float
    basis: Basis


_LAYERS = 28  # of the 7B, which was run
# Of an H100, sdpa, with checkpointing, images not cached.
_MEASURED = {
    # trains_adapter, quantized, sequences
    (False, False, 4): 0.114,
    (True, False, 4): 0.097,
    (True, True, 1): 0.025,
}
# Seconds to launch a micro-batch without its windows: of what was measured the rest, by checkpointing.
_LAUNCHES = {
    # trains_adapter, quantized
    (False, False): {True: 0.39, False: 0.20},
    (True, False): {True: 0.55, False: 0.41},  # without it: from what is modelled to be 4.5 times as fast
    (True, True): {True: 0.63, False: 0.47},  # without it: in the same proportion
}


def expected(conditions: Conditions, work: float, peak: float) -> Utilisation:
    """The share that training reaches under these conditions.

    Args:
        conditions: of the run.
        work: FLOPs of a micro-batch, recomputed ones included.
        peak: FLOP/s of the GPU.
    """
    one_by_one = conditions.attention in ONE_BY_ONE and not conditions.cached
    kind = (conditions.trains_adapter or conditions.quantized, conditions.quantized)
    measured = _MEASURED.get((*kind, conditions.sequences))
    as_there = conditions.gpu == "h100" and conditions.layers == _LAYERS and conditions.checkpointing and one_by_one
    if as_there and measured is not None:
        return Utilisation(measured, "measured")
    launches = _LAUNCHES[kind][conditions.checkpointing]
    windows = WINDOWS_SECONDS * conditions.sequences if one_by_one else 0.0
    seconds = (launches + windows) * conditions.layers / _LAYERS + work / (PRODUCTS * peak)
    return Utilisation(float(f"{min(work / (peak * seconds), MOST):.3g}"), "modelled")
