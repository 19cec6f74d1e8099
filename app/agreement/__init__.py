"""Do two answers say the same? The ladder is in ladder.py."""

from app.agreement.ladder import MAX_CHARS, VERSION, compare
from app.agreement.numbers import final_number
from app.agreement.words import normalised, similarity

__all__ = ["MAX_CHARS", "VERSION", "compare", "final_number", "normalised", "similarity"]
