"""Owns the demo: the data of a first start, and a partner to try the programmes with. Only in demo mode."""
