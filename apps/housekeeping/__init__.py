"""Owns how the background worker deletes what has died, and the page that shows what it does."""
