"""Owns the connection: the lasting link between one user and one application."""
