"""Constrained decoding at the vocabulary of the 7B: what its masks cost beside a step of the model.

    python -m benchmarks.constrained_vocabulary

A synthetic tokenizer of 152,064 tokens (bytes, pieces of answers, random words) and random scores; every row
detects. In turns, and from the same states of the grammars: the best token by `fusargpt.inference.constrained.Masks`,
which asks for the tokens that a grammar lets through, and by a mask of all tokens, expanded 32-fold from bits, as it
was before. Both have to choose the same token in every row of every step.

The step is modelled: one decoder layer of the published sizes for one token of every row, 28 times, and the head, with
weights of zero in bfloat16 on this CPU; and the layer's time on an H100 (`results/tlm_share_h100.json`), 28 times, from
which head and keys and values are left out. The latter reads 388 tokens instead of one a row.
"""

import argparse
import json
import random
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.numpy import fill_next_token_bitmask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerFast
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from fusargpt.inference.constrained import ConstrainedAnswer, Grammars, Masks
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import MAX_NEW_TOKENS
from trl_recipes.planning.sizes import QWEN_7B_SIZES

RESULTS = Path(__file__).parent / "results"
VOCABULARY = 152_064
SIZE = (504, 504)
PAST_TOKENS = 400  # of image and question, in the cache
PIECES = ('{"', "bbox", '":', "Ġ[", "Ġship", '",', 'Ġ"', "label", '"}', ",", "ship", "None", '[{"')


def synthetic_tokenizer() -> PreTrainedTokenizerFast:
    """Of `VOCABULARY` tokens, a byte each of them at least; it encodes by bytes."""
    draw = random.Random(0)
    words = dict.fromkeys([*sorted(pre_tokenizers.ByteLevel.alphabet()), *PIECES])
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    while len(words) < VOCABULARY - 1:
        words["".join([draw.choice(("", "Ġ", '"', "_")), *draw.choices(letters, k=draw.randint(2, 8))])] = None
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def expanded(matchers: list[LLMatcher], scores: Tensor) -> Tensor:
    """The best tokens by masks of the whole vocabulary."""
    bits = torch.full((len(matchers), -(-VOCABULARY // 32)), -1, dtype=torch.int32)
    for row, matcher in enumerate(matchers):
        fill_next_token_bitmask(matcher, bits.numpy(), row)
    allowed = (bits[..., None] >> torch.arange(32, dtype=torch.int32)) & 1
    return scores.masked_fill(allowed.flatten(1)[:, : scores.shape[1]] == 0, -torch.inf).argmax(-1)


def masks(rows: int, steps: int) -> dict[str, Any]:
    """Median processor seconds of a step by either, while most rows are there; and whether they chose the same."""
    tokenizer = synthetic_tokenizer()
    end = cast(int, tokenizer.eos_token_id)
    grammars = Grammars(tokenizer, VOCABULARY, [end])
    form = AnswerForm("detect")
    answers = [ConstrainedAnswer(grammars, form, SIZE, MAX_NEW_TOKENS) for _ in range(rows)]
    # A twin of each grammar, which the mask of all tokens is read from.
    matchers = [grammars.matcher(form, SIZE) for _ in range(rows)]
    masks, scores = (
        Masks(VOCABULARY),
        torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(0)),
    )
    seconds: dict[str, list[float]] = {"argmax of all tokens": [], "choose": [], "take": [], "expanded": []}
    alike = compared = 0
    for _ in range(steps):
        begun = [time.process_time()]
        scores.argmax(-1)
        begun.append(time.process_time())
        chosen = masks.choose(scores, answers)
        begun.append(time.process_time())
        before = expanded(matchers, scores)
        begun.append(time.process_time())
        alike, compared = alike + int((chosen == before).sum()), compared + len(chosen)
        tokens = chosen.tolist()
        kept = [row for row, token in enumerate(tokens) if token != end]
        begun.append(time.process_time())
        for answer, token in zip(answers, tokens, strict=True):
            answer.take(token)
        begun.append(time.process_time())
        if len(answers) > rows / 2:
            argmax, choose, before_it, _, take = np.diff(begun)
            for name, value in zip(seconds, (argmax, choose, take, before_it), strict=True):
                seconds[name].append(float(value))
        for matcher, token in zip(matchers, tokens, strict=True):
            if token != end:
                matcher.consume_token(token)
        answers, matchers = [answers[row] for row in kept], [matchers[row] for row in kept]
        # Rows that chose alike shall not go on alike.
        scores = scores[kept].roll(1, 0)
        if not kept:
            break
    return {
        "tokens_compared": compared,
        "tokens_alike": alike,
        "steps_with_most_rows": len(seconds["take"]),
        "seconds": {name: round(statistics.median(values), 5) for name, values in seconds.items()},
    }


@torch.inference_mode()
def step_on_this_cpu(rows: int, repeats: int) -> dict[str, float]:
    """Processor seconds of 28 decoder layers and of the head, for one token of each row."""
    sizes = QWEN_7B_SIZES
    config = Qwen2_5_VLTextConfig(
        vocab_size=128,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=1,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value * sizes.heads // sizes.hidden,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    )
    torch.set_default_dtype(torch.bfloat16)
    # Zeros as good as any weights, and made at once.
    with torch.device("meta"):
        modules = Qwen2_5_VLTextModel(config).eval(), nn.Linear(sizes.hidden, VOCABULARY, bias=False)
    layer, head = (cast(nn.Module, module).to_empty(device="cpu") for module in modules)
    for tensor in (*layer.parameters(), *layer.buffers(), *head.parameters()):
        tensor.zero_()
    cache = DynamicCache()
    past = torch.randn(rows, sizes.key_value // (sizes.hidden // sizes.heads), PAST_TOKENS, sizes.hidden // sizes.heads)
    cache.update(past, past.clone(), 0)
    states = torch.randn(rows, 1, sizes.hidden)
    torch.set_default_dtype(torch.float32)
    seconds: dict[str, list[float]] = {"layers": [], "head": []}
    for repeat in range(repeats + 1):
        begun = time.process_time()
        layer(inputs_embeds=states, cache=cache, use_cache=True)
        between = time.process_time()
        head(states)
        # The first touches the weights for the first time.
        if repeat:
            seconds["layers"].append((between - begun) * sizes.layers)
            seconds["head"].append(time.process_time() - between)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="of the modelled step")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULTS / "constrained_vocabulary.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = masks(options.rows, options.steps)
    seconds = found["seconds"]
    on_cpu = sum(step_on_this_cpu(options.rows, options.repeats).values())
    of_h100 = json.loads((RESULTS / "tlm_share_h100.json").read_text())["measured"]["median_seconds"]
    on_h100 = of_h100["decoder layer"] * QWEN_7B_SIZES.layers
    now = seconds["choose"] + seconds["take"]
    before = seconds["expanded"] + seconds["take"]
    result = {
        "rows": options.rows,
        "vocabulary": VOCABULARY,
        "threads": options.threads,
        "llguidance": version("llguidance"),
        **found,
        "expanded_over_choose": round(seconds["expanded"] / seconds["choose"], 1),
        "share_of_a_step_on_this_cpu": {"now": round(now / on_cpu, 5), "before": round(before / on_cpu, 5)},
        "modelled_share_of_a_step_on_an_h100": {"now": round(now / on_h100, 5)},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
