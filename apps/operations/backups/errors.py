class BackupError(Exception):
    """A backup or restore cannot be made, in words for the host. Nothing was changed."""


class DamagedArchiveError(BackupError):
    """The archive is not what was written: cut off, changed, or something else altogether."""


class WrongKeyError(BackupError):
    """The archive is not locked for the identity that was given."""
