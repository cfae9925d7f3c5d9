"""The model card of a folder that others are meant to use: README.md, whose header the Hub reads.

It says what is known and leaves out what is not. Sections stand in the order in which they are given, after one that
shows how a folder of its form is loaded and before the licence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fusargpt.errors import InputError, one_line
from fusargpt.files import write_text_whole

CARD = "README.md"
FENCE = "---\n"
HEADING = "## "
USE, LICENCE = "Use", "Licence"
NAME_LINE = re.compile(r'^name = "[^"]*"', re.MULTILINE)
"""Where the snippet of a card names its folder."""
LARGEST_CARD = 2**20  # bytes
MINIMUM_TRANSFORMERS = "5.23"  # as modeling_fusargpt.transformers_release, whose import takes seconds

Form = Literal["whole", "tlm", "adapter", "klip", "classifier"]
"""A whole FUSAR-GPT, its TLM or a LoRA adapter alone, a FUSAR-KLIP, or a classifier made of one."""
Place = Literal["hub", "package", "folder"]


@dataclass(frozen=True)
class Origin:
    """What is known of the model that another one was made from.

    Args:
        name: as cards say it: an id on the Hub, a name in this package, or that of a folder, without its place.
        place: which of these.
        hub: the id on the Hub, its own or that of what it comes from; None where nobody says.
        license: as `license`, `license_name` and `license_link` of a card's header have it; empty where nobody says.
    """

    name: str
    place: Place
    hub: str | None = None
    license: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Card:
    """What a card says.

    Args:
        title: of the model.
        form: what its folder holds.
        summary: a paragraph or two in Markdown, after the title.
        origin: what it was made from; for a TLM or an adapter its base.
        sections: by their headings, in Markdown.
        path: of the folder, as the snippet names it; the title when empty.
        tags: of the header.
        datasets: of the header, ids on the Hub.
        results: of the header.
    """

    title: str
    form: Form
    summary: str
    origin: Origin
    sections: Mapping[str, str]
    path: str = ""
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    results: Sequence[EvalResult] = ()


def write_card(folder: Path, card: Card) -> None:
    """Write `card` as README.md into `folder`."""
    parts = [
        f"# {card.title}\n\n{card.summary}",
        f"{HEADING}{USE}\n\n{_how_to_load(card)}",
        *(f"{HEADING}{heading}\n\n{text}" for heading, text in card.sections.items()),
        f"{HEADING}{LICENCE}\n\n{_licence(card.origin)}",
    ]
    content = f"{FENCE}{_header(card).to_yaml()}\n{FENCE}\n" + "\n\n".join(part.strip() for part in parts) + "\n"
    write_text_whole(folder / CARD, str(ModelCard(content)))


def read_card(path: Path) -> tuple[dict[str, Any], str]:
    """The header of a card, as the Hub would read it, and the text below it.

    Raises:
        InputError: no card, or one whose header is not what the Hub reads.
    """
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise ValueError(f"more than {LARGEST_CARD:,} bytes")
        content = path.read_text(encoding="utf-8")
        before, header, text = content.split(FENCE, 2)
        # Nested aliases make gigabytes of a few lines; nobody needs one in a card.
        if before or any(isinstance(token, yaml.AliasToken) for token in yaml.scan(header)):
            raise ValueError("aliases in its header, or text before it")
        ModelCard(content, ignore_metadata_errors=False)
        return dict(yaml.safe_load(header)), text
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a model card") from error
    # No text, no YAML, a header of another structure: of every type.
    except Exception as error:
        raise InputError(f"{path}: no model card with a header of YAML ({one_line(error)}); mend it") from error


def sections_of(text: str) -> dict[str, str]:
    """The sections of a card's text by their headings; what stands before the first is left out."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    in_code = False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line.startswith(HEADING) and not in_code:
            lines = found.setdefault(line.removeprefix(HEADING).strip(), [])
        else:
            lines.append(line)
    return {heading: "\n".join(lines).strip() for heading, lines in found.items()}


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _header(card: Card) -> ModelCardData:
    klip, adapter = card.form in ("klip", "classifier"), card.form == "adapter"
    answers = {"klip": "zero-shot-image-classification", "classifier": "image-classification"}
    base = card.origin.hub
    relation = None if base is None else "adapter" if adapter else "finetune"
    tags = ["sar", "remote-sensing", "fusarklip" if klip else "fusargpt", *(["lora"] if adapter else []), *card.tags]
    licence: dict[str, Any] = dict(card.origin.license)
    return ModelCardData(
        base_model=base,
        base_model_relation=relation,
        datasets=list(card.datasets) or None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=answers.get(card.form, "image-text-to-text"),
        tags=list(dict.fromkeys(tags)),
        model_name=card.title if card.results else None,
        eval_results=list(card.results) or None,
        **licence,
    )


_ANSWER = """\
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

name = "{path}"  # the folder, or owner/name on the Hub
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True, dtype="auto")

question = {{"type": "text", "text": "How many ships are there in this image?"}}
messages = [{{"role": "user", "content": [{{"type": "image"}}, question]}}]
text = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=[Image.open("chip.png").convert("RGB")], text=[text], return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=100)
print(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
_MATCH = """\
from PIL import Image
from transformers import AutoModel, AutoProcessor

name = "{path}"  # the folder, or owner/name on the Hub
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
model = AutoModel.from_pretrained(name, trust_remote_code=True)

texts = ["two ships", "forest, no roads"]
inputs = processor(images=[Image.open("chip.png").convert("RGB")], text=texts)
print(texts[model(**inputs).logits_per_image[0].argmax()])"""

_TELL = """\
from PIL import Image
from transformers import AutoModelForImageClassification, AutoProcessor

name = "{path}"  # the folder, or owner/name on the Hub
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
model = AutoModelForImageClassification.from_pretrained(name, trust_remote_code=True)

inputs = processor(images=[Image.open("chip.png").convert("RGB")])
print(model.config.id2label[int(model(**inputs).logits[0].argmax())])"""


def _how_to_load(card: Card) -> str:
    snippet = {"klip": _MATCH, "classifier": _TELL}.get(card.form, _ANSWER).format(path=card.path or card.title)
    peft = ", and peft" if card.form == "adapter" else ""
    needs = f"It takes transformers {MINIMUM_TRANSFORMERS} or newer{peft}; the folder brings its code."
    prior = "An AlphaEarth prior goes in beside the image: `priors=[...]`, as `fusargpt prior` writes it to a file."
    parts = [f"{needs}{_base(card)}", f"```python\n{snippet}\n```"]
    # A classifier does not look at a prior that it was not fine-tuned with.
    return "\n\n".join(parts if card.form == "classifier" and "alphaearth" not in card.tags else [*parts, prior])


def _base(card: Card) -> str:
    if card.form not in ("tlm", "adapter"):
        return ""
    base = f" Its base, `{card.origin.name}`, is loaded with it"
    if card.origin.place == "hub":
        return f"{base}, from the Hub."
    if card.origin.place == "package":
        return f"{base}: it comes with the package fusargpt, which has to be installed."
    file = "config.json" if card.form == "tlm" else "adapter_config.json"
    return f"{base}, from the folder that `base_model_name_or_path` in `{file}` says."


def _licence(origin: Origin) -> str:
    if "license" not in origin.license:
        return f"Unknown: nothing says under which one `{origin.name}` is, from which this was made. Ask its owner."
    name = origin.license.get("license_name", origin.license["license"])
    return f"`{origin.name}`, from which this was made, is under `{name}`."


__all__ = ["CARD", "Card", "Form", "Origin", "read_card", "sections_of", "table", "write_card"]
