"""Speaks HTTP and SSE; decides nothing."""
