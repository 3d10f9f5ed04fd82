"""Owns webhooks: whom to tell that something happened, the outbox, delivery, and the log of it."""
