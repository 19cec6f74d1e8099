"""The terminal's client: it knows the protocol and nothing of the server's insides."""
