"""Memory of a stage on one GPU, from sizes alone: what stays through a step, and what the backward pass needs kept.

The peak is taken where backward begins and gradients of an earlier micro-batch are held: weights, gradients, optimizer
states, everything that autograd has kept, and the larger of what the loss and what one layer need to work. Counted are
bytes of tensors; CUDA's context, NCCL and what the allocator loses to fragments are `RUNTIME`, an estimate.
"""

from dataclasses import dataclass
from typing import Literal

from trl_recipes.planning.flops import Shape, Stage
from trl_recipes.planning.sizes import Linear, Sizes

Strategy = Literal["ddp", "zero2", "fsdp2", "qlora"]
Attention = Literal["flash_attention_2", "sdpa", "sdpa_float32", "eager"]

RUNTIME = 2 * 2**30
FLOAT32 = 4
# TRL's loss projects so many positions to so many tokens of the vocabulary at a time.
_TILE_POSITIONS, _TILE_VOCABULARY = 4096, 32768
# Where Triton is not at hand, the loss of a tile is worked out in about so many float32 copies of it.
_COPIES_WITHOUT_TRITON = 8
# DeepSpeed's reduce_bucket_size, in gradients.
_ZERO_BUCKET = 500_000_000
# NF4 in blocks of 64 weights, each with a float32 scale; doubly quantised, a byte, and a float32 for 256 blocks.
_NF4_BYTES = {False: 1 / 2 + 4 / 64, True: 1 / 2 + 1 / 64 + 4 / (64 * 256)}


@dataclass(frozen=True)
class Run:
    """How a stage is run on each GPU.

    Attributes:
        stage: what is trained.
        weight_bytes: of a frozen weight, and of what flows between layers: 4 or 2. Trained weights are float32.
        product_bytes: of the type in which matrix products compute: 4, or 2 under autocast.
        attention: its implementation.
        optimizer_bytes: states of one trained parameter.
        sequences: per device and micro-batch.
        gpus: that share the work.
        masked: whether the language model attends through a mask, as pairs do that are hidden from each other. Rows
            that are padded on the right do without.
        triton: whether the loss is computed by kernels, as on GPUs.
        double_quantization: whether the scales of weights in 4 bits are quantised too.
    """

    stage: Stage
    weight_bytes: int
    product_bytes: int
    attention: Attention
    optimizer_bytes: float
    sequences: int
    gpus: int
    masked: bool = False
    triton: bool = True
    double_quantization: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        weights: all of the model, or this GPU's part of it.
        gradients: of what is trained.
        optimizer: its states, and float32 weights that it keeps beside those of the model.
        activations: what autograd keeps, the batch itself, and what one layer works with.
        logits: tiles of logits and what the loss works with.
        communication: copies of gradients on their way, and weights gathered or de-quantised for use.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    communication: int

    @property
    def total(self) -> int:
        """Of all tensors; `RUNTIME` comes on top."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.communication


def trained_parameters(sizes: Sizes, stage: Stage) -> int:
    """How many parameters get gradients."""
    count = sizes.parameters()
    trained = sizes.lora(stage.lora_r) if stage.trains_lora else 0
    trained += count["TLM"] if stage.trains_tlm else 0
    trained += count["language model"] + count["lm_head"] if stage.trains_language_model else 0
    return trained + (count["vision tower"] + count["merger"] if stage.train == "all" else 0)


def memory_per_gpu(sizes: Sizes, shape: Shape, run: Run, strategy: Strategy) -> Memory:
    """Memory of one GPU under a strategy; `qlora` is `ddp` over a frozen language model in 4 bits.

    Raises:
        ValueError: for `qlora` where the language model is trained.
    """
    stage = run.stage
    trained = trained_parameters(sizes, stage)
    frozen = sum(sizes.parameters().values()) - (trained - (sizes.lora(stage.lora_r) if stage.trains_lora else 0))
    # peft keeps the original of the TLM that it trains a copy of, by then in float32.
    kept = sizes.parameters()["TLM"] if stage.train == "tlm+lora" else 0
    parallel = run.gpus > 1
    weights = float(frozen * run.weight_bytes + (trained + kept) * FLOAT32)
    gradients, states = float(trained * FLOAT32), trained * run.optimizer_bytes
    communication = 0.0
    if strategy == "ddp":
        # Buckets: the gradients once more, in the order in which they are summed.
        communication = gradients if parallel else 0
    elif strategy == "zero2":
        # DeepSpeed holds the model in the products' type, and float32 weights beside the optimizer's states.
        weights = (frozen + trained + kept) * run.product_bytes
        gradients = trained * run.product_bytes / run.gpus
        states = trained * (FLOAT32 + run.optimizer_bytes) / run.gpus
        communication = min(trained, _ZERO_BUCKET) * run.product_bytes
    elif strategy == "fsdp2":
        communication = _gathered(sizes, run) if parallel else 0
        weights, gradients, states = weights / run.gpus, gradients / run.gpus, states / run.gpus
    elif strategy == "qlora":
        if stage.trains_language_model:
            raise ValueError(f"train: {stage.train} moves the language model, which 4 bits cannot hold")
        linear = sizes.layers * sum(layer.inputs * layer.outputs for layer in sizes.language_layer)
        weights = (
            (frozen - linear) * run.weight_bytes
            + (trained + kept) * FLOAT32
            + linear * _NF4_BYTES[run.double_quantization]
        )
        dequantised = 2 * max(layer.inputs * layer.outputs for layer in sizes.language_layer)
        communication = dequantised + (gradients if parallel else 0)
    kept_by_autograd, one_layer = _activations(sizes, shape, run)
    loss = _loss(sizes, shape, run)
    # A layer goes backward when the loss is done.
    activations = kept_by_autograd + max(_autocast_cache(sizes, run), one_layer - loss, 0) + _batch(sizes, shape, run)
    return Memory(round(weights), round(gradients), round(states), activations, loss, round(communication))


def saved_activations(sizes: Sizes, shape: Shape, run: Run) -> int:
    """Bytes of tensors that autograd keeps from the forward pass of a micro-batch; weights are not among them."""
    return _activations(sizes, shape, run)[0]


def _gathered(sizes: Sizes, run: Run) -> int:
    """FSDP2 gathers the layer at work and the one after it, through a buffer of one more; what is in no layer stays."""
    language = sum(layer.parameters for layer in sizes.language_layer)
    vision = sum(layer.parameters for layer in sizes.vision_layer)
    in_layers = sizes.layers * language + sizes.vision_layers * vision
    rest = sum(sizes.parameters().values()) - in_layers
    return (rest + 3 * max(language, vision)) * run.weight_bytes


def _batch(sizes: Sizes, shape: Shape, run: Run) -> int:
    """Pixels, or visual tokens from the cache, as the collator gives them."""
    if run.stage.feature_cache:
        return run.sequences * shape.visual_tokens(sizes) * sizes.hidden * run.product_bytes
    return run.sequences * shape.rows * shape.columns * sizes.patch_values * FLOAT32


def _loss(sizes: Sizes, shape: Shape, run: Run) -> int:
    scored = run.sequences * shape.scored_tokens
    positions = min(scored, _TILE_POSITIONS)
    tile = positions * _TILE_VOCABULARY * run.product_bytes
    work = 0 if run.triton else positions * min(sizes.vocabulary, _TILE_VOCABULARY) * FLOAT32 * _COPIES_WITHOUT_TRITON
    gradient = scored * sizes.hidden * FLOAT32
    gradient += sizes.head.parameters * FLOAT32 if run.stage.trains_language_model else 0
    return tile + work + gradient


def _activations(sizes: Sizes, shape: Shape, run: Run) -> tuple[int, int]:
    """Bytes kept from the forward pass, and bytes that one layer adds in the backward pass."""
    stage = run.stage
    tokens, patches = run.sequences * shape.tokens(sizes), run.sequences * shape.rows * shape.columns
    layer = tokens * _language_layer(sizes, shape, run) + _autocast_copies(sizes.language_layer, run)
    if stage.trains_lora and run.product_bytes != FLOAT32:
        layer += sizes.lora(stage.lora_r) // sizes.layers * run.product_bytes
    block = patches * _vision_block(sizes, run) + _autocast_copies(sizes.vision_layer, run)
    # Gradients on their way through the wide part of a layer.
    one_layer = 3 * tokens * sizes.intermediate * run.product_bytes
    if stage.checkpointing:
        kept = sizes.layers * tokens * sizes.hidden * run.weight_bytes
        one_layer += layer
        if stage.gradient_reaches_tower:
            kept += sizes.vision_layers * patches * sizes.vision_hidden * run.product_bytes
            one_layer = max(one_layer, block + 3 * patches * sizes.vision_intermediate * run.product_bytes)
    else:
        unneeded = 0 if stage.gradient_reaches_first_layer else tokens * _norm(sizes.hidden)
        kept = sizes.layers * layer - unneeded
        kept += sizes.vision_layers * block if stage.gradient_reaches_tower else 0
    if stage.gradient_reaches_tower:
        kept += patches * _merger(sizes, run) + _autocast_copies(sizes.merger, run)
    kept += _tlm(sizes, shape, run)
    # The last norm, the hidden states that the loss reads, and the rotary tables of all layers.
    weight_gradient = run.weight_bytes if stage.trains_language_model else 0
    kept += tokens * (_norm(sizes.hidden, weight_gradient) + 2 * sizes.query // sizes.heads * FLOAT32)
    kept += run.sequences * shape.scored_tokens * sizes.hidden * run.weight_bytes
    return kept, one_layer


def _autocast_copies(layers: tuple[Linear, ...], run: Run) -> int:
    """Of float32 weights that a gradient passes through, in the type of the products."""
    weights = sum(layer.inputs * layer.outputs for layer in layers)
    return weights * run.product_bytes if run.weight_bytes != run.product_bytes else 0


def _autocast_cache(sizes: Sizes, run: Run) -> int:
    """Copies of trained weights that autocast holds on to, to the end of the forward pass, where layers keep none."""
    stage = run.stage
    if not (stage.checkpointing and stage.trains_language_model):
        return 0
    copies = sizes.layers * _autocast_copies(sizes.language_layer, run)
    return copies + (sizes.vision_layers * _autocast_copies(sizes.vision_layer, run) if stage.train == "all" else 0)


def _norm(width: int, normalised_bytes: int = 0) -> int:
    """Of one position: the input in float32, its inverse length, and for a trained weight the normalised input."""
    return width * (FLOAT32 + normalised_bytes) + FLOAT32


def _inputs(width: int, readers: int, run: Run, trained: bool, lora: bool) -> int:
    """Of one position: the input of linear layers that read the same, kept for the gradient of weights.

    Autocast makes a copy for each reader, and LoRA, whose weights are float32, another type's detour.
    """
    if lora or (trained and run.weight_bytes != run.product_bytes):
        return width * run.product_bytes * (readers if run.product_bytes != FLOAT32 else 1)
    return width * run.product_bytes if trained else 0


def _language_layer(sizes: Sizes, shape: Shape, run: Run) -> int:
    """Of one position, kept by one decoder layer."""
    trained, lora = run.stage.trains_language_model, run.stage.trains_lora
    product, length = run.product_bytes, shape.tokens(sizes)
    kept = 2 * _norm(sizes.hidden, run.weight_bytes if trained else 0)
    kept += _inputs(sizes.hidden, 3, run, trained, lora) + _inputs(sizes.hidden, 2, run, trained, lora)
    kept += product * 3 * sizes.intermediate + _inputs(sizes.intermediate, 1, run, trained, lora)
    kept += 7 * run.stage.lora_r * product if lora else 0
    # Keys and values are repeated for every head where there is a mask.
    heads = 2 * (sizes.query if run.masked or run.attention == "eager" else sizes.key_value) + sizes.query
    if run.attention == "eager":
        scores = sizes.heads * length * (FLOAT32 + (product if product != FLOAT32 else 0))
        return kept + product * heads + scores + _inputs(sizes.query, 1, run, trained, lora)
    attended = FLOAT32 if run.attention == "sdpa_float32" else product
    kept += attended * (heads + sizes.query) + FLOAT32 * sizes.heads
    kept += attended * length if run.masked else 0  # the mask, for each layer anew
    if lora and product != FLOAT32:
        kept += _inputs(sizes.query, 1, run, trained, lora)
    return kept


def _vision_block(sizes: Sizes, run: Run) -> int:
    """Of one patch, kept by one block of the vision tower; attention within windows keeps no mask.

    What flows between blocks has the type of the products, since a product, the patch embedding, begins it.
    """
    trained, product, width = run.stage.train == "all", run.product_bytes, sizes.vision_hidden
    kept = 2 * _norm(width, product if trained else 0)
    kept += _inputs(width, 1, run, trained, False) + _inputs(width, 2, run, trained, False)
    # q, k and v as they come out together, q and k once more when turned, and the output, of all windows and by window.
    kept += product * width * (3 + 2 + 1 + trained) + FLOAT32 * sizes.vision_heads
    return kept + product * sizes.vision_intermediate * (3 + trained)


def _merger(sizes: Sizes, run: Run) -> int:
    """Of one patch: its norm, the input of GELU, and with trained weights both layers' inputs and the patch itself."""
    trained, product, width = run.stage.train == "all", run.product_bytes, sizes.vision_hidden
    kept = _norm(width, product if trained else 0) + product * width
    if trained:
        kept += 2 * product * width + (product * sizes.patch_values if product != FLOAT32 else 0)
    return kept


def _tlm(sizes: Sizes, shape: Shape, run: Run) -> int:
    """Of a micro-batch: what scales its tokens where they need a gradient, and where the TLM is trained the embeddings,
    both layers' inputs, the alignment, the tokens and a copy of the second layer's weights."""
    if shape.anchors is None or not sizes.tlm:
        return 0
    tokens, product = shape.visual_tokens(sizes), run.product_bytes
    kept = tokens * sizes.hidden * FLOAT32 if run.stage.gradient_reaches_tower else 0
    if not run.stage.trains_tlm:
        return run.sequences * kept
    kept += shape.anchors * (sizes.prior * FLOAT32 + 2 * sizes.tlm_hidden * product)
    kept += tokens * (shape.anchors + sizes.hidden) * FLOAT32
    second = sizes.tlm[1]
    return run.sequences * kept + (second.inputs * second.outputs * product if product != FLOAT32 else 0)
