"""Owns the brands: which organisation a host belongs to, its look, its members and its reviewers."""
