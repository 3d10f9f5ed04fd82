"""The addresses that one application uses, and programs that use them: copy, run, connected."""

from apps.console.snippets.addresses import Address, Addresses, addresses_of
from apps.console.snippets.writing import Snippet, write_snippets

__all__ = ["Address", "Addresses", "Snippet", "addresses_of", "write_snippets"]
