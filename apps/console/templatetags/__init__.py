"""The demo's template filters."""
