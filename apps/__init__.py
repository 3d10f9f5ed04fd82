"""Countersign's own apps. Imports go down the list in docs/architecture.md only."""
