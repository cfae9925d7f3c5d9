"""A chat model that sees images, on this machine, by transformers."""

from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from fusargpt.captioning.chat.models import Reply, Turns
from fusargpt.errors import InputError, one_line
from fusargpt.inference.faces import Generates, LoadingReport, Processes
from fusargpt.inference.user_texts import UserTexts


class LocalChat:
    """Any model of `AutoModelForImageTextToText`, through its own chat template, decoding greedily.

    It is told the form of its answer and not held to it: what cannot be read is asked for again.

    Args:
        name: a folder, or owner/name on the Hub.
        answer_tokens: where an answer is cut.
        device: as torch names it; None takes a GPU where there is one.

    Raises:
        InputError: files that are missing or damaged, or a model of another kind.
    """

    def __init__(self, name: str, answer_tokens: int, device: str | None = None) -> None:
        self._name, self._answer_tokens = name, answer_tokens
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._lock = Lock()
        try:
            self._processor = cast(Processes, AutoProcessor.from_pretrained(name, trust_remote_code=False))
            model, report = cast(
                # Typed as a model alone, also where the report on its weights comes with it.
                tuple[torch.nn.Module, LoadingReport],
                AutoModelForImageTextToText.from_pretrained(
                    name,
                    dtype=torch.float32 if device == "cpu" else torch.bfloat16,
                    output_loading_info=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                ),
            )
        # What transformers and safetensors raise on files that are missing, damaged or do not fit, absent packages.
        except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
            raise InputError(f"{name}: the model cannot be loaded: {one_line(error)}") from error
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise InputError(f"{name}: {len(missing)} weights are missing, {missing[0]} among them")
        self._model = cast(Generates, model.to(device).eval())

    @property
    def name(self) -> str:
        return f"{Path(self._name).name} ({self._answer_tokens} tokens)"

    def reply(self, image: Image.Image, turns: Turns, schema: dict[str, Any]) -> Reply:
        """One at a time, whoever asks."""
        with self._lock, torch.inference_mode():
            features = self._processor(
                images=[[image.convert("RGB")]], text=[self._rendered(turns)], return_tensors="pt"
            ).to(self._model.device, self._model.dtype)
            asked = features["input_ids"].shape[1]
            tokens = self._model.generate(
                **features,
                max_new_tokens=self._answer_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
            )[:, asked:]
        text = self._processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
        return Reply(text, asked, tokens.shape[1])

    def _rendered(self, turns: Turns) -> str:
        texts = UserTexts(self._processor.tokenizer)
        messages: list[object] = []
        for role, text in turns:
            if texts.shown(text) != text:
                raise InputError("question: holds a special token of the model, which it would not take for text")
            content: list[dict[str, str]] = [{"type": "text", "text": text}]
            if role == "user" and not any(message_role == "user" for message_role, _ in turns[: len(messages)]):
                content.insert(0, {"type": "image"})
            messages.append({"role": role, "content": content})
        return self._processor.apply_chat_template(messages, add_generation_prompt=True)
