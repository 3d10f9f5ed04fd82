"""Owns how often something may be tried: counting that all processes share, and the answer 429."""
