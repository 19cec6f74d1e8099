"""Tandem: one question, a fast and a slow language model, one truthful stream, one audit record."""

__version__ = "0.1.0"
