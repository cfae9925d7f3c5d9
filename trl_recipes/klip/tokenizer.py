"""A tokenizer of about a thousand words for small models that read the texts of scenes."""

from collections.abc import Iterable
from itertools import chain

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
"""BERT's, and the one with which BLIP begins a caption that it writes."""
_PRINTABLE = [chr(code) for code in range(33, 127)]
# Every letter within a word too: whoever searches uses words that no scene has.
_LETTERS = " ".join(f"a{chr(code)}" for code in range(ord("a"), ord("z") + 1))


def build_tokenizer(corpus: Iterable[str], vocabulary_size: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """WordPiece in lower case, trained on `corpus`: whole words where they are common, a digit a token always.

    A number so is as many tokens as it has digits, and near numbers look alike. All printable ASCII is known, in
    pieces where need be; what is not becomes [UNK].

    Args:
        corpus: texts, gone through once.
        vocabulary_size: tokens at most, special ones included.
        max_tokens: what the tokenizer names as its model's longest text.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=_PRINTABLE,
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(corpus, [_LETTERS]), trainer)
    begin, end = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", begin), ("[SEP]", end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[DEC]",
        clean_up_tokenization_spaces=False,
    )
