"""Filters for templates of mails about applications."""
