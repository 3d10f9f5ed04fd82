"""Owns what a resource endpoint tells about a user."""
