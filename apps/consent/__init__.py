"""Owns the moment a user decides: the authorization page, what is remembered of it, and changing it later."""
