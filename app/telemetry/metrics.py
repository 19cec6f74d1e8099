"""The numbers of a server as Prometheus and as people read them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from app.telemetry import report, vitals
from app.telemetry.meters import Meters
from app.telemetry.process import Process
from app.telemetry.tallies import Family
from app.telemetry.vitals import Sources
from app.telemetry.windows import SPANS

LOOK_S: Final = 60.0
LOOK_REST: Final = 20.0  # times as long as a look took


@dataclass(frozen=True, eq=False)  # a registry tells collectors apart by identity
class Copies(Collector):
    """Everything as it was at one moment."""

    families: list[Metric]

    def collect(self) -> Iterable[Metric]:
        """As the registry asks."""
        return self.families


class Metrics:
    """Reads the other parts on the event loop, in 3 us a line; a thread writes it down, which takes five times that."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4  # of what `generate_latest` writes unless told otherwise

    def __init__(self, meters: Meters, sources: Sources, process: Process) -> None:
        self.meters = meters
        self.sources = sources
        self._process = process

    async def scraped(self) -> bytes:
        """Everything in Prometheus' text format."""
        families: list[Family] = [*self.meters.families(), *vitals.readings(self.sources), *self._process.readings()]
        registry = CollectorRegistry()
        registry.register(Copies([family.copied() for family in families]))
        return await asyncio.to_thread(generate_latest, registry)

    async def told(self) -> dict[str, Any]:
        """The same for people: now, since the start, and over three spans."""
        cache, windows = self.sources.cache, self.meters.tallies.windows
        now = [*vitals.readings(self.sources), *self._process.readings()]
        spans = {span: (windows.counts(span), windows.seconds(span)) for span in SPANS}

        def tell() -> dict[str, Any]:
            """What takes a while."""
            named = self.meters.tallies.series.named
            return {
                "version": self.sources.version,
                "now": report.now(now),
                "cache": None if stats is None else msgspec.to_builtins(stats),
                "windows": {span: report.window(named(counts), s) for span, (counts, s) in spans.items()},
            }

        stats = None if cache is None else cache.counts()
        return await asyncio.to_thread(tell)

    async def look_again(self) -> None:
        """Look at what takes a while, so that a scrape need not; never returns, cancel it."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.to_thread(self._process.look_at_disk)
            if self.sources.cache is not None:
                await self.sources.cache.stats()
            await asyncio.sleep(max(LOOK_S, (loop.time() - began) * LOOK_REST))
