"""Owns the pages of the developer portal (`/developer/`) and of the review desk (`/review/`)."""
