"""Owns the people: users, how they log in, and what is known about them."""
