"""A step over a batch that is too large for one pass: its contrast is that of the whole, by two passes over chunks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .modeling_fusarklip import FusarKlipModel, FusarKlipOutput
from .towers_fusarklip import IMAGE_INPUTS


def two_pass_step(
    model: FusarKlipModel,
    chunks: Sequence[Mapping[str, Any]],
    backward: Callable[[Tensor], Any] = Tensor.backward,
    call: nn.Module | None = None,
) -> dict[str, float]:
    """Leaves the gradients of one step on a logical batch, and returns its losses by name.

    Without a gradient all chunks are embedded; the contrast over all of them gives the gradient of every vector; then
    each chunk is run again, with that gradient in place of its contrast (GradCache, arXiv 2101.06983). Matching and
    reconstruction stay within a chunk, and are averaged by its share of the rows. Chance, as of dropped fields, falls
    alike in both passes.

    Args:
        model: In training mode, without momentum towers and queue.
        chunks: Keyword arguments of `forward`, without `return_loss`.
        backward: Takes a loss, as `Accelerator.backward`.
        call: The model as it is wrapped for training, where it is.

    Raises:
        ValueError: If there is no chunk, or if the model has momentum towers or a queue.
    """
    losses = model.config.losses
    if losses.momentum is not None or losses.queue_size:
        raise ValueError("losses_config: found momentum or queue_size, expected neither in a step of two passes.")
    if not chunks:
        raise ValueError("chunks: found none, expected one or more.")
    device = model.temperature.device
    seeds = torch.randint(2**62, (len(chunks),)).tolist()
    devices = [device] if device.type == "cuda" else []
    embedded: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    if losses.itc > 0:
        for seed, chunk in zip(seeds, chunks, strict=True):
            with torch.random.fork_rng(devices), torch.no_grad():
                torch.manual_seed(seed)
                embedded.append(_embed(model, chunk))
    found: dict[str, float] = {}
    of_temperature: Tensor | None = None
    gradients: list[dict[str, Tensor]] = [{} for _ in chunks]
    sizes = [len(chunk["input_ids"]) for chunk in chunks]
    if embedded:
        images, texts, image_facts, text_facts = (torch.cat(parts) for parts in zip(*embedded, strict=True))
        with torch.enable_grad():
            itc = losses.itc * model.contrast(images.requires_grad_(), texts.requires_grad_(), image_facts, text_facts)
            by_image, by_text = torch.autograd.grad(itc, (images, texts))
            # The vectors' gradient goes through the chunks; that of temperature and bias does not.
            of_temperature = losses.itc * model.contrast(images.detach(), texts.detach(), image_facts, text_facts)
        for one, image_rows, text_rows in zip(gradients, by_image.split(sizes), by_text.split(sizes), strict=True):
            one |= {"image_gradients": image_rows, "text_gradients": text_rows}
        found["itc"] = float(itc.detach()) / losses.itc
    for index, (seed, chunk, size) in enumerate(zip(seeds, chunks, sizes, strict=True)):
        share = size / sum(sizes)
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            scaled = {name: rows / share for name, rows in gradients[index].items()}
            output: FusarKlipOutput = (call or model)(**chunk, **scaled, return_loss=True)
        assert output.loss is not None, "losses were asked for"
        loss = output.loss * share
        if of_temperature is not None and index == len(chunks) - 1:
            loss = loss + of_temperature
        backward(loss)
        for name in ("itm", "itm_base_rate", "itm_accuracy", "mlm", "lm", "mim"):
            if name in output:
                found[name] = found.get(name, 0.0) + share * float(output[name])
    weights = {"itc": losses.itc, "itm": losses.itm, "mlm": losses.mlm, "lm": losses.lm, "mim": losses.mim}
    found["loss"] = sum(weight * found[name] for name, weight in weights.items() if name in found)
    return found


def _embed(model: FusarKlipModel, chunk: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, texts and the facts of each, in the order in which `forward` computes them."""
    input_ids, attention_mask = chunk["input_ids"], chunk.get("attention_mask")
    images = model.image_embeddings(**{name: chunk[name] for name in IMAGE_INPUTS if name in chunk})
    texts = model.text_embeddings(input_ids, attention_mask)
    image_facts, text_facts = chunk.get("image_facts"), chunk.get("text_facts")
    if image_facts is None or text_facts is None:
        image_facts = text_facts = model.facts_of_texts(input_ids, attention_mask)
    return images, texts, image_facts, text_facts


__all__ = ["two_pass_step"]
