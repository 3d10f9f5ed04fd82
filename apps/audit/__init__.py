"""Owns the audit trail: what happened, who did it, and the proof that nobody has changed that since."""
