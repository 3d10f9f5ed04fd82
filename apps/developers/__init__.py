"""Owns the applications: what is registered, who may use which scope, and what was approved."""
