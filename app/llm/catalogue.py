"""From a model's name to the model: `provider:model`, or `wrapper:argument@` before it."""

from collections.abc import Callable, Mapping

from app.errors import UnknownModel
from app.llm.model import LanguageModel
from app.llm.options import ProviderOptions
from app.question import LaneName

MAX_OPEN = 256

Open = Callable[[str, ProviderOptions], LanguageModel]
Wrap = Callable[[str, LanguageModel], LanguageModel]


class Catalogue:
    """The models that may be asked for.

    providers and wrappers come by name; options are a lane's access to its provider. configured are the names an
    operator chose: a provider in guarded (one that reads files) serves those and no others.
    """

    def __init__(
        self,
        providers: Mapping[str, Callable[[], Open]],
        wrappers: Mapping[str, Callable[[], Wrap]],
        options: Mapping[LaneName, ProviderOptions],
        configured: frozenset[str],
        guarded: frozenset[str] = frozenset({"local"}),
    ) -> None:
        self._providers = providers
        self._wrappers = wrappers
        self._options = options
        self._chosen = configured | {name.partition("@")[2] for name in configured}
        self._guarded = guarded
        self._open: dict[tuple[ProviderOptions, str], LanguageModel] = {}

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model of that name for that lane. Raises UnknownModel."""
        key = (self._options[lane], name)
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= MAX_OPEN:
                raise UnknownModel(f"{MAX_OPEN} different models are in use already; ask for one of those")
            found = self._open[key] = self._make(lane, name)
        return found

    def _make(self, lane: LaneName, name: str) -> LanguageModel:
        wrapping, at, wrapped = name.partition("@")
        kind, _, rest = (wrapping if at and wrapping.partition(":")[0] in self._wrappers else name).partition(":")
        try:
            if kind in self._wrappers and at:
                if wrapped.partition(":")[0] in self._wrappers:
                    raise UnknownModel("a wrapper goes around a model, not around another wrapper")
                return self._wrappers[kind]()(rest, self.get(lane, wrapped))
            if kind not in self._providers:
                known = ", ".join([*self._providers, *(f"{wrapper}:...@provider" for wrapper in self._wrappers)])
                raise UnknownModel(f"no provider of that name; a model is `provider:model`, providers are: {known}")
            if kind in self._guarded and name not in self._chosen:
                raise UnknownModel(f"`{kind}` serves only what FAST_MODEL and SLOW_MODEL name")
            return self._providers[kind]()(rest, self._options[lane])
        except ValueError as error:
            raise UnknownModel(str(error)) from error

    async def close(self) -> None:
        """Close every model that was opened, wrapped ones by themselves."""
        models, self._open = list(self._open.values()), {}
        for model in models:
            await model.close()
