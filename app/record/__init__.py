"""After the run: what is kept of it, and how it gets there without ever slowing the stream."""
