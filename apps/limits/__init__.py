"""Owns how often something may be tried: counting over a cache that all processes share, and the answer 429."""
