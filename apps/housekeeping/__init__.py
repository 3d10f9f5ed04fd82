"""Owns how the background worker deletes what has died, and the record of its runs."""
