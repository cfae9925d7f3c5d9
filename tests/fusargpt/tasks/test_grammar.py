"""The language of each grammar is what the task writes and the parsers read, and decoding never leaves it."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.inference.constrained import ConstrainedAnswer, Grammars, Masks
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.answers import parse_boxes, parse_cells, parse_class, parse_count
from fusargpt.tasks.grammar import FORMED_TASKS, AnswerForm, boxes_begun, longest_answer
from fusargpt.tasks.prompts import NONE_ANSWER, format_boxes, format_cells
from fusargpt.tasks.target_names import TARGETS
from tests.tiny import SPECIAL_TOKENS, Backbone, random_image, tiny_model, tiny_processor, tiny_tokenizer

SIZE = (168, 140)
FORMS = {task: AnswerForm(task) for task in FORMED_TASKS}


def byte_pairs() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that splits texts as Qwen's does, digit by digit."""
    answers = [format_boxes([[10, 20, 130, 140], [5, 6, 7, 8]], ["ship", "aircraft"]), "None", "1, 2, 3, 5, 8", "ship"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(answers * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def grammars_of(tokenizer: PreTrainedTokenizerFast) -> Grammars:
    # Wider than the tokenizer, as Qwen's logits are.
    ends = [tokenizer.get_vocab()[token] for token in ("<|im_end|>", "<|endoftext|>")]
    return Grammars(tokenizer, len(tokenizer) + 21, ends)


TOKENIZERS = {
    "bytes": tiny_tokenizer(),
    "byte pairs": byte_pairs(),
    "nano": PreTrainedTokenizerFast.from_pretrained(NANO),
}
GRAMMARS = {name: grammars_of(tokenizer) for name, tokenizer in TOKENIZERS.items()}


def accepts(form: AnswerForm, text: str) -> bool:
    matcher = GRAMMARS["bytes"].matcher(form, SIZE)
    tokens = TOKENIZERS["bytes"].encode(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def is_canonical(task: str, text: str) -> bool:
    """Whether `text` is read without a problem and is what the task writes."""
    if task == "count":
        read = parse_count(text)
        return not read.problems and text == str(read.value)
    if task == "localize":
        cells = parse_cells(text)
        return not cells.problems and text == format_cells(sorted(cells.value))
    if task == "classify":
        return parse_class(text).value == text.lower() and text in (*TARGETS, NONE_ANSWER)
    boxes = parse_boxes(text)
    corners = [corner for box, _ in boxes.value for corner in box]
    limits = [side for _ in boxes.value for side in (*SIZE, *SIZE)]
    if boxes.problems or not all(0 <= value <= limit for value, limit in zip(corners, limits, strict=True)):
        return False
    whole = [[int(corner) for corner in box] for box, _ in boxes.value]
    labels = [label for _, label in boxes.value]
    return set(labels) <= set(TARGETS) and text == format_boxes(whole, labels)


def sides(limit: int) -> st.SearchStrategy[int]:
    return st.integers(0, limit + 30)


ANSWERS = {
    "count": st.integers(0, 10**10).map(str),
    "localize": st.lists(st.integers(0, 10), max_size=9).map(lambda cells: ", ".join(map(str, cells)) or NONE_ANSWER)
    | st.sets(st.integers(1, 9)).map(lambda cells: format_cells(list(cells))),
    "classify": st.sampled_from([*TARGETS, NONE_ANSWER, "plane", "Ship", ""]),
    "detect": st.lists(
        st.tuples(st.tuples(sides(168), sides(140), sides(168), sides(140)), st.sampled_from([*TARGETS, "plane"])),
        max_size=3,
    ).map(lambda found: format_boxes([list(box) for box, _ in found], [label for _, label in found])),
}


@pytest.mark.parametrize("task", FORMED_TASKS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_grammar_holds_what_is_read_and_written_and_nothing_else(task: str, data: st.DataObject):
    text = data.draw(ANSWERS[task])
    # As it is, or with a piece left out, doubled, or of another answer in its place.
    start, end = (data.draw(st.integers(0, len(text))) for _ in range(2))
    piece = data.draw(st.sampled_from(["", " ", ",", "0", "1", "-", '"', "}", text[start:end], NONE_ANSWER]))
    for changed in (text, text[:start] + piece + text[max(start, end) :]):
        assert accepts(FORMS[task], changed) == is_canonical(task, changed), changed


def decode_at_random(forms: list[AnswerForm | None], name: str, budget: int, seed: int) -> list[tuple[str, bool]]:
    """What is decoded of random logits in one batch, each row until it ends; and whether it ended by itself."""
    grammars, generator = GRAMMARS[name], torch.Generator().manual_seed(seed)
    tokenizer = TOKENIZERS[name]
    held = [form and ConstrainedAnswer(grammars, form, SIZE, budget) for form in forms]
    masks = Masks(grammars.vocabulary)
    written: list[list[int]] = [[] for _ in forms]
    rows, ended = list(range(len(forms))), set()
    for _ in range(budget):
        tokens = masks.choose(torch.randn(len(rows), grammars.vocabulary, generator=generator), held).tolist()
        kept = [place for place, token in enumerate(tokens) if token not in grammars.end_tokens]
        for place, (answer, token) in enumerate(zip(held, tokens, strict=True)):
            written[rows[place]].append(token)
            if answer is not None:
                answer.take(token)
        ended |= {rows[place] for place in range(len(rows)) if place not in kept}
        rows, held = [rows[place] for place in kept], [held[place] for place in kept]
        if not rows:
            break
    return [
        (str(tokenizer.decode(tokens, skip_special_tokens=True)), row in ended) for row, tokens in enumerate(written)
    ]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("extra", [0, 1, 40, 200])
def test_random_logits_always_parse(name: str, extra: int):
    forms = [*FORMS.values(), None] * 4
    budget = longest_answer(FORMS["detect"], SIZE) + extra
    for seed in range(3):
        decoded = decode_at_random(forms, name, budget, seed)
        for form, (text, _) in zip(forms, decoded, strict=True):
            assert form is None or is_canonical(form.task, text), text


def test_a_list_ends_with_the_tokens():
    """Logits that would always begin another box, or never end a number, are made to end the list."""
    grammars = GRAMMARS["bytes"]
    budget = longest_answer(FORMS["detect"], SIZE) + 150
    answer = ConstrainedAnswer(grammars, FORMS["detect"], SIZE, budget)
    masks, written = Masks(grammars.vocabulary), []
    favourites = [TOKENIZERS["bytes"].encode(letter)[0] for letter in "[,0123456789"]
    for _ in range(budget):
        scores = torch.zeros(1, grammars.vocabulary)
        scores[0, favourites] = 1.0
        token = int(masks.choose(scores, [answer]))
        written.append(token)
        if token in grammars.end_tokens:
            break
        answer.take(token)
    text = str(TOKENIZERS["bytes"].decode(written, skip_special_tokens=True))
    assert is_canonical("detect", text)
    assert len(parse_boxes(text).value) > 1


def test_fixed_pieces_may_be_cut_as_the_model_learnt_them():
    text = format_boxes([[1, 22, 168, 4]] * 2, ["ship", "aircraft"])
    for name, tokenizer in TOKENIZERS.items():
        answer = ConstrainedAnswer(GRAMMARS[name], FORMS["detect"], SIZE, 512)
        masks = Masks(GRAMMARS[name].vocabulary)
        for token in tokenizer.encode(text):
            scores = torch.zeros(1, GRAMMARS[name].vocabulary)
            scores[0, token] = 1.0
            assert int(masks.choose(scores, [answer])) == token
            answer.take(token)


@pytest.mark.parametrize(
    ("begun", "count"),
    [("", 0), ("[", 1), ('[{"bbox', 1), ('[{"b": [1], "label": "s"}', 1), ('[{"b": 1},', 2), ('[{"b": 1}, {"', 2)],
)
def test_boxes_begun(begun: str, count: int):
    assert boxes_begun(begun) == count


def test_a_batch_of_a_model_has_the_form_of_each_row(backbone: Backbone):
    """An untrained model, in a batch of all tasks whose rows end at different steps; a free row stays as it was."""
    predictor = FusarGpt(tiny_model(seed=1, backbone=backbone), tiny_processor())
    images = [random_image(40, 56, seed=0), random_image(64, 32, seed=1)] * 3
    forms = [*FORMS.values(), None, FORMS["detect"]]
    questions = ["How many ships?", "Where?", "Which class is it?", "Detect.", "Describe.", "Detect all ships."]
    answers = predictor.answers(images, questions, max_new_tokens=90, forms=forms)
    assert parse_count(answers[0]).value is not None
    assert not parse_cells(answers[1]).problems
    assert answers[2] in (*TARGETS, NONE_ANSWER)
    for index, (width, height) in ((3, (32, 64)), (5, (32, 64))):
        boxes = parse_boxes(answers[index])
        assert not boxes.problems
        assert all(
            0 <= x <= width and 0 <= y <= height for (x1, y1, x2, y2), _ in boxes.value for x, y in ((x1, y1), (x2, y2))
        )
    assert answers[4] == predictor.answer(images[4], questions[4], max_new_tokens=90)
    alone = [
        predictor.answer(image, question, max_new_tokens=90, form=form)
        for image, question, form in zip(images, questions, forms, strict=True)
    ]
    assert answers == alone


def test_names_are_those_of_the_form():
    form = AnswerForm("classify", ("Bulk carrier", "vol de nuit é"))
    assert accepts(form, "vol de nuit é") and accepts(form, "None")
    assert not accepts(form, "ship")
    form = AnswerForm("detect", ("Bulk carrier",))
    assert accepts(form, format_boxes([[1, 2, 3, 4]], ["Bulk carrier"]))
    assert not accepts(form, format_boxes([[1, 2, 3, 4]], ["ship"]))


@pytest.mark.parametrize("name", ["", " ", "none", 'a "b"', "{", "a\\b", "ship.", "a\nb", "'ship'", "a" * 401])
def test_a_name_that_no_answer_could_give_back_is_refused(name: str):
    with pytest.raises(ValueError, match=re.escape(f"names: found {name!r}")):
        AnswerForm("detect", (name,))


def test_a_description_has_no_form():
    with pytest.raises(ValueError, match="task: found 'describe', expected one of count, localize, classify, detect"):
        AnswerForm("describe")


def test_too_few_tokens_are_refused():
    with pytest.raises(InputError, match="max_new_tokens: found 20, expected at least"):
        ConstrainedAnswer(GRAMMARS["nano"], FORMS["detect"], SIZE, 20)
    assert json.loads(format_boxes([[168, 140, 168, 140]], ["aircraft"]))
    assert longest_answer(FORMS["detect"], SIZE) == len(format_boxes([[168, 140, 168, 140]], ["aircraft"]))
