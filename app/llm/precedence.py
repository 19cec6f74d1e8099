"""Whose turn it is on a processor that is too small for everybody: urgent asks first, the patient ones after them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Precedence:
    """Places for asks, some for urgent ones and some for patient ones, so that neither takes the other's.

    A patient ask begins only while no urgent one is in progress or waits; once begun it goes on. Waiting is
    cancellable and first come, first served among equals.
    """

    def __init__(self, urgent: int, patient: int) -> None:
        self._urgent_places = asyncio.Semaphore(urgent)
        self._patient_places = asyncio.Semaphore(patient)
        self._urgent = 0
        self._nobody_urgent = asyncio.Event()
        self._nobody_urgent.set()

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        async with self._urgent_turn() if urgent else self._patient_turn():
            yield

    @asynccontextmanager
    async def _urgent_turn(self) -> AsyncIterator[None]:
        self._urgent += 1
        self._nobody_urgent.clear()
        try:
            async with self._urgent_places:
                yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._nobody_urgent.set()

    @asynccontextmanager
    async def _patient_turn(self) -> AsyncIterator[None]:
        async with self._patient_places:
            await asyncio.sleep(0)  # both lanes of a run start in one turn of the loop: let the urgent one come first
            while self._urgent:
                await self._nobody_urgent.wait()
            yield
