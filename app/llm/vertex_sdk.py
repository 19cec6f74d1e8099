"""What we take of Google's libraries. Importing this takes seconds: in a thread, when a model of Vertex AI is used.

Of google-cloud-aiplatform only the prediction service and its messages are imported, a third of the time and half of
the memory of the whole.
"""

from typing import Any, Final

import google.auth
import grpc
import grpc.aio
from google.api_core import grpc_helpers_async
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from app.errors import ModelError
from app.llm.deferred import defer
from app.llm.model import Along
from app.llm.vertex_access import Target

for _package in ("google.cloud.aiplatform_v1", "google.cloud.aiplatform_v1.types"):
    defer(_package)

from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceAsyncClient  # noqa: E402  # now cheap
from google.cloud.aiplatform_v1.services.prediction_service.transports import (  # noqa: E402
    PredictionServiceGrpcAsyncIOTransport,
)
from google.cloud.aiplatform_v1.types import prediction_service  # noqa: E402

METHOD: Final = "/google.cloud.aiplatform.v1.PredictionService/StreamGenerateContent"
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
STATUS_DETAILS: Final = "grpc-status-details-bin"
MAX_MESSAGE_BYTES: Final = 16 << 20

# The plain protobuf messages: proto-plus around them costs as much again for every chunk.
Wrapped: Final = prediction_service.GenerateContentRequest
GenerateContentRequest: Final = Wrapped.pb()
GenerateContentResponse: Final = prediction_service.GenerateContentResponse.pb()
RpcError: Final = grpc.RpcError
END: Final = grpc.aio.EOF

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 60_000),  # an idle line dies unnoticed behind some NATs
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # else two lines to one host would be one connection
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


class Transport(PredictionServiceGrpcAsyncIOTransport):  # type: ignore[misc]  # the library has no types
    """The library's, but a call is handed out before it is waited for, and its messages as the bytes that came.

    A call that is awaited inside the library could not be cancelled by whom it is for.
    """

    @property
    def stream_generate_content(self) -> Any:  # noqa: ANN401  # the library has no types
        """What begins a call."""
        if METHOD not in self._stubs:
            stub = self.grpc_channel.unary_stream(METHOD, request_serializer=Wrapped.serialize)

            async def begin(request: Any, **options: Any) -> Any:  # noqa: ANN401  # as the library calls it
                """The call itself, at once."""
                return stub(request, **options)

            self._stubs[METHOD] = begin
        return self._stubs[METHOD]


class Line:
    """One connection to the service and the calls on it; open and used in one event loop."""

    def __init__(self, target: Target, credentials: Any) -> None:  # noqa: ANN401  # the library has no types
        if target.secure:
            self.channel = grpc_helpers_async.create_channel(target.address, credentials=credentials, options=_OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(target.address, options=_OPTIONS)
        self.active = 0
        self._client = PredictionServiceAsyncClient(transport=Transport(channel=self.channel))

    async def begin(self, request: Any, along: Along = ()) -> Any:  # noqa: ANN401  # the library has no types
        """A call that has begun, with these headers; it does not suspend. Whoever asked must cancel it."""
        return await self._client.stream_generate_content(request=Wrapped.wrap(request), metadata=along)

    async def connected(self) -> bool:
        """Wait until the connection stands, or has failed."""
        state = self.channel.get_state(try_to_connect=True)
        while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Cancel what runs and close the connection."""
        await self.channel.close()


def find_credentials() -> Any:  # noqa: ANN401  # the library has no types
    """The application default credentials with a fresh token; blocks. Raises ModelError that says what to run."""
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
        credentials.refresh(Request())
    except TransportError as error:
        raise ModelError("connect_failed", "Google's token service cannot be reached.", retryable=True) from error
    except GoogleAuthError as error:
        raise ModelError(
            "credentials_missing",
            f"No Google Cloud credentials ({type(error).__name__}): run `gcloud auth application-default login`, set "
            "GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the service an account with roles/aiplatform.user.",
        ) from error
    return credentials


def retry_delay(error: Any) -> float | None:  # noqa: ANN401  # the library has no types
    """How long the service asks to wait, in seconds, if it says so."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS:
            return _delay_in(value)
    return None


def _delay_in(value: bytes) -> float | None:
    try:
        for detail in Status.FromString(value).details:
            if detail.Is(RetryInfo.DESCRIPTOR):
                info = RetryInfo.FromString(detail.value)
                return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    except DecodeError:
        pass
    return None
