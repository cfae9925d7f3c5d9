"""Any server of the OpenAI interface: vLLM, llama.cpp, a hosted model. Rate limits and hiccups are waited out."""

import base64
import io
import os
from dataclasses import dataclass
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice
from PIL import Image

from fusargpt.captioning.chat.models import Reply, Turns
from fusargpt.captioning.chat.reading import LONGEST_ANSWER
from fusargpt.captioning.stages import Stopped
from fusargpt.errors import InputError, OptionError, one_line

KEY_VARIABLE = "OPENAI_API_KEY"
ANSWER_TOKENS = 1024
SECONDS = 120.0
RETRIES = 4
ResponseForm = Literal["json_schema", "json_object", "text"]


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how a server is asked.

    Attributes:
        model: as the server calls it.
        base_url: of the interface, as http://localhost:8000/v1.
        answer_tokens: where an answer is cut.
        seconds: for which an answer is waited for.
        retries: of a request that fails in passing, or finds the server busy; after as long as it says.
        form: how the server is told the form of the answer; "text" for one that cannot be told.
        temperature: None leaves it to the server, as some models demand.
    """

    model: str
    base_url: str
    answer_tokens: int = ANSWER_TOKENS
    seconds: float = SECONDS
    retries: int = RETRIES
    form: ResponseForm = "json_schema"
    temperature: float | None = 0.0


class Endpoint:
    """A model on a server. The key is read from `KEY_VARIABLE`; servers of one's own mostly want none."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=os.environ.get(KEY_VARIABLE) or "none",
            timeout=settings.seconds,
            max_retries=settings.retries,
        )

    @property
    def name(self) -> str:
        chosen = self._settings
        return f"{chosen.model} ({chosen.form}, temperature {chosen.temperature}, {chosen.answer_tokens} tokens)"

    def reply(self, image: Image.Image, turns: Turns, schema: dict[str, Any]) -> Reply:
        chosen = self._settings
        optional: dict[str, Any] = {} if chosen.temperature is None else {"temperature": chosen.temperature}
        if chosen.form == "json_schema":
            described = {"name": "answer", "strict": True, "schema": schema}
            optional["response_format"] = {"type": "json_schema", "json_schema": described}
        elif chosen.form == "json_object":
            optional["response_format"] = {"type": "json_object"}
        try:
            answer = self._client.chat.completions.create(
                model=chosen.model, messages=_messages(image, turns), max_tokens=chosen.answer_tokens, **optional
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise OptionError(f"{self._shown}: {one_line(error)}") from error
        except openai.RateLimitError as error:
            raise Stopped(f"{self._shown} lets no more through: {one_line(error)}") from error
        except openai.APITimeoutError as error:
            raise InputError(f"{self._shown}: no answer in {chosen.seconds:g} s, {chosen.retries + 1} times") from error
        except openai.APIConnectionError as error:
            raise Stopped(f"{self._shown} cannot be reached: {one_line(error.__cause__ or error)}") from error
        except openai.OpenAIError as error:
            raise InputError(f"{self._shown}: {one_line(error)}") from error
        return self._read(answer)

    def _read(self, answer: ChatCompletion) -> Reply:
        # A server may leave out what the interface demands; the client does not look.
        choices: list[Choice] = answer.choices or []
        if not choices:
            raise InputError(f"{self._shown}: found an answer without choices; expected one")
        message, finish = choices[0].message, choices[0].finish_reason
        if message.refusal or finish == "content_filter":
            raise InputError(f"{self._shown}: the model refused: {message.refusal or 'its content filter'}")
        text = message.content or ""
        if finish == "length":
            raise InputError(
                f"{self._shown}: the answer was cut at {self._settings.answer_tokens} tokens; allow more with "
                "--max-new-tokens"
            )
        if len(text) > LONGEST_ANSWER:
            raise InputError(
                f"{self._shown}: found an answer of {len(text):,} characters; expected JSON of a few claims"
            )
        usage = answer.usage
        if usage is None:
            return Reply(text, 0, len(text) // 4)
        return Reply(text, usage.prompt_tokens, usage.completion_tokens)

    @property
    def _shown(self) -> str:
        return f"{self._settings.model} at {self._settings.base_url}"


def _messages(image: Image.Image, turns: Turns) -> Any:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    picture = {"url": f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"}
    messages: list[dict[str, Any]] = []
    shown = False
    for role, text in turns:
        if role == "user" and not shown:
            shown = True
            messages.append(
                {
                    "role": role,
                    "content": [{"type": "image_url", "image_url": picture}, {"type": "text", "text": text}],
                }
            )
        else:
            messages.append({"role": role, "content": text})
    return messages
