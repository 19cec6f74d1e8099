"""From a model's name to the model: `provider:model`, or `wrapper:argument@` before it."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.errors import UnknownModel
from app.llm.allowed import Allowed
from app.llm.model import Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.question import LaneName

MOST_OPEN: Final = 256  # but for those in use
GUARDED: Final = frozenset({"local"})  # providers that read files serve what an operator chose, and no others

Open = Callable[[str, ProviderOptions], LanguageModel]
Wrap = Callable[[str, LanguageModel], LanguageModel]


@dataclass(slots=True)
class _Opened:
    """A model that is open. asked: how many streams of it there are."""

    model: LanguageModel
    asked: int = 0


class Catalogue:
    """The models that may be asked for. Belongs to one event loop.

    providers and wrappers come by name; options are a lane's access to its provider. What an operator chose stays open;
    of all others the one that was wanted longest ago, and that nobody hears now, makes room for a new one.
    """

    def __init__(
        self,
        providers: Mapping[str, Callable[[], Open]],
        wrappers: Mapping[str, Callable[[], Wrap]],
        options: Mapping[LaneName, ProviderOptions],
        allowed: Allowed,
    ) -> None:
        self._providers = providers
        self._wrappers = wrappers
        self._options = options
        self._allowed = allowed
        # Lanes with the same options share models; found once, since options take long to hash.
        self._sharing = {lane: next(of for of in options if options[of] == options[lane]) for lane in options}
        self._open: OrderedDict[tuple[LaneName, str], _Opened] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model of that name for that lane. Raises ModelNotAllowed, UnknownModel."""
        self._allowed.check(name)
        return self._get(lane, name)

    def _get(self, lane: LaneName, name: str) -> LanguageModel:
        opened = self._opened(lane, name)
        return opened.model if name in self._allowed.chosen else _Lent(self, lane, opened.model.name, name)

    def _opened(self, lane: LaneName, name: str) -> _Opened:
        """The model, from now on the last to make room. Raises UnknownModel."""
        key = (self._sharing[lane], name)
        found = self._open.get(key)
        if found is None:
            made = _Opened(self._make(lane, name))
            self._make_room()
            found = self._open[key] = made
        self._open.move_to_end(key)
        return found

    def _make(self, lane: LaneName, name: str) -> LanguageModel:
        wrapping, at, wrapped = name.partition("@")
        kind, _, rest = (wrapping if at and wrapping.partition(":")[0] in self._wrappers else name).partition(":")
        try:
            if kind in self._wrappers and at:
                if wrapped.partition(":")[0] in self._wrappers:
                    raise UnknownModel("a wrapper goes around a model, not around another wrapper")
                return self._wrappers[kind]()(rest, self._get(lane, wrapped))
            if kind not in self._providers:
                known = ", ".join([*self._providers, *(f"{wrapper}:...@provider" for wrapper in self._wrappers)])
                raise UnknownModel(f"no provider of that name; a model is `provider:model`, providers are: {known}")
            if kind in GUARDED and name not in self._allowed.chosen:
                raise UnknownModel(f"`{kind}` serves only what FAST_MODEL and SLOW_MODEL name")
            return self._providers[kind]()(rest, self._options[lane])
        except ValueError as error:
            raise UnknownModel(str(error)) from error

    def _make_room(self) -> None:
        """Close what nobody uses, the longest unwanted first, until one more fits; what is in use is no obstacle."""
        while len(self._open) >= MOST_OPEN:
            idle = (key for key, of in self._open.items() if not of.asked and key[1] not in self._allowed.chosen)
            key = next(idle, None)
            if key is None:
                return
            closing = asyncio.get_running_loop().create_task(self._open.pop(key).model.close(), name="close a model")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def ask(self, lane: LaneName, name: str, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """The stream of a model, which stays open as long as it is heard."""
        opened = self._opened(lane, name)
        stream = opened.model.ask(prompt)
        opened.asked += 1
        try:
            async for item in stream:
                yield item
        finally:
            opened.asked -= 1
            await stream.aclose()

    async def close(self) -> None:
        """Close every model that was opened, wrapped ones by themselves."""
        models, self._open = [opened.model for opened in self._open.values()], OrderedDict()
        if self._closing:
            await asyncio.wait(self._closing)
        for model in models:
            await model.close()


class _Lent:
    """A model that no setting names: it is found, or opened anew, when it is asked."""

    def __init__(self, catalogue: Catalogue, lane: LaneName, called: str, name: str) -> None:
        self.name = called
        self._catalogue = catalogue
        self._lane = lane
        self._name = name

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """As LanguageModel has it."""
        return self._catalogue.ask(self._lane, self._name, prompt)

    async def close(self) -> None:
        """Hold nothing."""
