"""Owns what applications did, counted by day, and the last redirect URIs that matched none of theirs."""
