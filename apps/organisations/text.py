"""What text may be kept: the one rule that every reader of outside text asks, so it lives at the bottom."""


def is_storable(text: str) -> bool:
    """Say whether the database can hold `text`: no NUL, no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
