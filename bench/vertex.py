"""`python -m bench.vertex`: what a message from Vertex AI costs, against a bare grpc.aio reader of the same messages.

A gRPC server in a process of its own sends every stream at once; the reader and the provider take turns, block by
block, on uvloop. Processor time of this process in microseconds a message, the request included.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
import uvloop

from app.llm import vertex
from app.llm.model import Prompt
from app.llm.options import ProviderOptions
from app.llm.vertex_access import VertexAccess
from app.llm.vertex_regions import Regions
from app.question import Message
from app.wiring.models import VERTEX_SDK
from bench.processes import ROOT

PROMPT = Prompt((Message("user", "What is the capital of France?"),))
SERVER = """
import asyncio, sys
sys.path.insert(0, "tests")
import fake_vertex, grpc
async def main(messages, gap):
    said = [fake_vertex.say(" a word or two")] * (messages - 1)
    end = fake_vertex.counted(fake_vertex.say(finish=1), 7, 9)
    play = [step for message in said for step in (message, gap)] + [end]
    server, port = await fake_vertex._serve(fake_vertex.FakeVertex(scripts={"bench": tuple(play)}), None)
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
"""

Ask = Callable[[], Awaitable[None]]


def bench(
    streams: Annotated[int, typer.Option(min=1, max=1000)] = 500,
    messages: Annotated[int, typer.Option(min=1, help="Messages a stream.")] = 40,
    gap_s: Annotated[float, typer.Option(min=0, help="Between two messages of a stream.")] = 0.1,
    blocks: Annotated[int, typer.Option(min=1, help="The table has medians of so many.")] = 3,
) -> None:
    """Print both costs and their ratio."""
    with upstream(messages, gap_s) as port:
        costs = uvloop.run(_measure(port, streams, blocks))
    medians = {name: statistics.median(times) / streams / messages * 1e6 for name, times in costs.items()}
    for name, cost in medians.items():
        print(f"{name:9} {cost:7.1f} us a message")
    print(f"ratio     {medians['provider'] / medians['reader']:7.2f}")


@contextmanager
def upstream(messages: int, gap_s: float) -> Iterator[int]:
    """A gRPC server in a process of its own that answers the model `bench` so; its port."""
    command = [sys.executable, "-c", SERVER, str(messages), str(gap_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


async def _measure(port: int, streams: int, blocks: int) -> dict[str, list[float]]:
    """Seconds of processor time a block."""
    access = VertexAccess(project="p", endpoint=f"http://127.0.0.1:{port}")
    regions = Regions(partial(import_module, VERTEX_SDK))
    model = vertex.VertexModel("bench", ProviderOptions(vertex=access, regions=regions))
    await model.warm()
    model.region.streams_per_line = streams
    sdk = await model.region.ready()
    line = sdk.Line(access.target, None)
    parse = sdk.GenerateContentResponse.FromString
    stub = line.channel.unary_stream(sdk.METHOD, response_deserializer=parse)
    request = sdk.GenerateContentRequest(model=access.resource("bench"))
    request.contents.add(role="user").parts.add(text=PROMPT.messages[0].content)
    asks: dict[str, Ask] = {
        "reader": partial(_read, stub, request.SerializeToString()),
        "provider": partial(_ask, model),
    }
    costs: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(blocks):
        for name, ask in asks.items():
            await ask()
            before = time.process_time()
            await asyncio.gather(*(ask() for _ in range(streams)))
            costs[name].append(time.process_time() - before)
    assert len(model.region.lines) == 1  # one channel, which has one connection
    await line.close()
    await model.close()
    return costs


async def _read(stub: Any, request: bytes) -> None:  # noqa: ANN401  # the library has no types
    """One stream by the bare reader, which looks at each text."""
    async for message in stub(request):
        for part in message.candidates[0].content.parts:
            _ = part.text


async def _ask(model: vertex.VertexModel) -> None:
    """One stream by the provider."""
    async for _ in model.ask(PROMPT):
        pass


if __name__ == "__main__":
    typer.run(bench)
