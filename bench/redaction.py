"""What redaction costs a kilobyte: `python -m bench.redaction`."""

import json
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from app.record.detectors import PERSONAL, SECRETS, Detector, mask

PROSE = (
    "The slow model does not always finish last, so the server enforces the order of what people see. Users of a "
    "two-speed product hate not knowing which model answered: name the model and its state on every answer, never "
    "swap text silently, let them accept the preliminary one or wait for the final one, and show what changed. "
)
SUMS = "Natalia sold 48/2 = <<48/2=24>>24 clips in May 2024. She sold 48+24 = <<48+24=72>>72 clips, for $1,440.00.\n"
CODE = 'async def ask(self, api_key: str = "") -> Answer:\n    return await self._send2(prompt, key=api_key)\n'
TEXTS = {
    "prose": PROSE,
    "prose with accents": PROSE.replace("e ", "é "),
    "prose beyond Latin-1": PROSE.replace("two", "“2”—"),
    "sums (GSM8K)": SUMS,
    "code": CODE,
    "JSON": json.dumps(
        {"run_id": "0198c2a4-7e2b-7c3d", "created_at": "2026-01-01T00:00:00Z", "text": PROSE, "ms": 12.5}
    ),
    "numbers in columns": "1234 5678 9012 3456\n",
    "a find a line": f"{PROSE[:80]} jane@example.com\n",
}
KILOBYTES = (1, 4, 64, 1024)


def cost_us(text: str, detectors: Sequence[Detector]) -> float:
    """The least of several runs, in microseconds of processor time a kilobyte (1,024 characters)."""
    rounds = max(1, 200_000 // len(text))
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(rounds):
            mask(text, detectors)
        best = min(best, time.process_time() - start)
    return best / rounds / (len(text) / 1024) * 1e6


def main() -> None:
    """Print the table."""
    table = Table(
        "text", *(f"{size} KiB" for size in KILOBYTES), title="µs per KiB: secrets / secrets and personal data"
    )
    for name, unit in TEXTS.items():
        cells = []
        for size in KILOBYTES:
            text = (unit * (size * 1024 // len(unit) + 1))[: size * 1024]
            cells.append(f"{cost_us(text, SECRETS):.1f} / {cost_us(text, (*SECRETS, *PERSONAL)):.1f}")
        table.add_row(name, *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
