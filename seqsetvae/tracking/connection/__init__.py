"""A tracking store: its address, whether it can be used, and the client that opens it."""
