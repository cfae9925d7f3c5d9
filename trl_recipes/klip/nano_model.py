"""fusarklip-nano before training: python -m trl_recipes.klip.nano_model --tower build/klip/tower

The classes of the base model with a few million parameters, and a tokenizer of about a thousand words. The image tower
comes from dense pre-training (trl_recipes.klip.pretrain_tower) where it is given, and is random without.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from transformers import BlipVisionModel, PreTrainedTokenizerFast

from fusargpt.errors import InputError, one_line
from fusargpt.inference.faces import LoadingReport
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.part_texts import draw_part_text, part_text
from modeling_fusarklip.configuration_fusarklip import FusarKlipConfig
from modeling_fusarklip.modeling_fusarklip import FusarKlipModel
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.klip.pretrain_tower import TOWER, build_image_processor
from trl_recipes.klip.tokenizer import build_tokenizer

VOCABULARY_SIZE = 1024
CORPUS_SCENES = 3000
TEXTS_A_SCENE = 8  # of each dimension's four wordings most are among them
MAX_TOKENS = 192
GEOGRAPHY_LAYER = 4  # of six: what the layers below give can be kept


def corpus() -> Iterator[str]:
    """Texts of training scenes: all parts, and drawn ones in many wordings."""
    for seed in range(SPLIT_SEEDS["train"], SPLIT_SEEDS["train"] + CORPUS_SCENES):
        phrases = scene_phrases(simulate_scene(seed))
        yield part_text(phrases, list(phrases), seed).text
        for text in range(TEXTS_A_SCENE):
            yield draw_part_text(phrases, seed * TEXTS_A_SCENE + text).text


def build_processor() -> FusarKlipProcessor:
    """Images of 168 x 168 pixels, texts of up to 192 tokens."""
    tokenizer = build_tokenizer(corpus(), VOCABULARY_SIZE, MAX_TOKENS)
    return FusarKlipProcessor(build_image_processor(), tokenizer, max_text_tokens=MAX_TOKENS)


def build_config(tokenizer: PreTrainedTokenizerFast) -> FusarKlipConfig:
    """About 5.7 million parameters: 6 layers of width 192 for images, 4 for texts."""
    return FusarKlipConfig(
        # By its default the tower's embeddings begin at 1e-10.
        vision_config={**TOWER, "initializer_range": 0.02},
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": MAX_TOKENS,
            # At this width the usual 0.02 leaves each layer a third of its input's scale.
            "initializer_range": 0.05,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_text_hidden_size=64,
        tlm_config={"hidden_size": 384},
        geography_layer=GEOGRAPHY_LAYER,
        mask_token_id=cast(int, tokenizer.mask_token_id),
        max_text_tokens=MAX_TOKENS,
    )


def load_tower(model: FusarKlipModel, folder: Path) -> None:
    """Give the model's image tower the weights of `folder`, those of a BlipVisionModel of its sizes.

    Raises:
        InputError: no such tower, or one of other sizes.
    """
    try:
        tower, report = cast(
            tuple[BlipVisionModel, LoadingReport],
            BlipVisionModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"--tower: {folder} cannot be loaded: {one_line(error)}; expected a tower") from error
    weights, own = tower.state_dict(), model.vision_model.state_dict()
    wrong = [name for name, tensor in weights.items() if name not in own or own[name].shape != tensor.shape]
    if wrong:
        raise InputError(
            f"--tower: {folder} holds {wrong[0]} of shape {list(weights[wrong[0]].shape)}; expected the sizes of "
            f"trl_recipes.klip.pretrain_tower, {len(wrong)} weights differ"
        )
    if report["missing_keys"]:
        raise InputError(
            f"--tower: {folder} lacks {', '.join(sorted(report['missing_keys'])[:3])}; expected all weights"
        )
    model.vision_model.load_state_dict(weights, strict=False)  # TLM and acquisition it does not have


def build(out: Path, tower: Path | None, seed: int) -> None:
    """Write the model before its training and its processor to `out`, and say its sizes."""
    torch.manual_seed(seed)
    processor = build_processor()
    model = FusarKlipModel(build_config(processor.tokenizer))
    if tower is not None:
        load_tower(model, tower)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    print(f"{out}: {model.num_parameters():,} parameters {counts}, {len(processor.tokenizer)} tokens")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/klip/initial"))
    parser.add_argument("--tower", type=Path, help="folder of the dense pre-training; random weights without")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    build(options.out, options.tower, options.seed)
