"""What instances tell each other, each in a stream that only the one it is meant for reads: small JSON, or nothing."""

from typing import Final, Literal

import msgspec

from app.redis.client import Client, Reply
from app.redis.pace import Pace, milliseconds

MESSAGE: Final = "m"  # the one field of an entry
AT_ONCE: Final = 200  # runs in a message
_MOST_BYTES: Final = 64 * 1024
_MOST_WAITING: Final = 1000
_EXPIRY_S: Final = 60.0


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A run that is read on another instance. guest: by one who did not open it; finish: it is to go on anyway."""

    run_id: str
    guest: bool
    finish: bool


class Hold(msgspec.Struct, frozen=True, tag_field="do", tag="hold"):
    """These runs of yours are read here; said again and again."""

    sender: str
    runs: list[Held]


class Leave(msgspec.Struct, frozen=True, tag_field="do", tag="leave"):
    """These are not read here any more."""

    sender: str
    runs: list[str]


class Stop(msgspec.Struct, frozen=True, tag_field="do", tag="stop"):
    """Cancel or accept this run of yours for that caller, and tell me of it."""

    sender: str
    number: int
    run_id: str
    caller: str
    tenant: str
    cause: Literal["cancelled", "accepted"]


class Told(msgspec.Struct, frozen=True, tag_field="do", tag="told"):
    """What became of it: whether the run has ended, or the code and the words of a refusal."""

    number: int
    ended: bool = False
    code: str = ""
    words: str = ""


class Wake(msgspec.Struct, frozen=True, tag_field="do", tag="wake"):
    """From this instance to itself: there is something else to listen to."""


Message = Hold | Leave | Stop | Told | Wake

_decode = msgspec.json.Decoder(Message).decode


def message_of(encoded: Reply) -> Message | None:
    """The message of these bytes; None when they are none."""
    if not isinstance(encoded, bytes) or len(encoded) > _MOST_BYTES:
        return None
    try:
        return _decode(encoded)  # type: ignore[no-any-return]  # a decoder of a union is not typed
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def control_key(client: Client, instance: str) -> str:
    """Where messages to an instance are."""
    return client.key("control", instance)


class Post:
    """Takes messages to instances, itself included. Every call raises RedisUnavailable."""

    def __init__(self, client: Client, pace: Pace) -> None:
        self._client = client
        self._pace = pace

    async def send(self, instance: str, message: Message) -> None:
        """Leave a message; of an instance that does not read them only the last ones are kept, and not for long."""
        key = control_key(self._client, instance)
        words = msgspec.json.encode(message)
        add = ("XADD", key, "MAXLEN", "~", _MOST_WAITING, "*", MESSAGE, words)
        commands = [add, ("PEXPIRE", key, milliseconds(_EXPIRY_S))]
        await self._client.pipeline(commands, timeout_s=self._pace.command_s)
