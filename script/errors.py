"""What goes wrong for the operator."""


class StartError(Exception):
    """Countersign cannot start or go on; the message is one line that tells the operator what to do."""
