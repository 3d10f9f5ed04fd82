"""How much of an uploaded file is kept while its request is read."""

import io
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from apps.organisations.logos import MAX_BYTES

#: A whole request, in bytes. What is more is no mistake of a person's.
MAX_REQUEST_BYTES = 50 * 1024 * 1024


class BoundedUploadHandler(FileUploadHandler):
    """Keeps a file in memory up to the largest size that any form takes, and only counts the rest.

    Django's own handlers write whatever comes to temporary files, and from everybody: a form is read before anyone
    asks who sends it. A file that was cut off here still has its real `size`, by which its form refuses it in words.
    """

    def handle_raw_input(
        self, input_data: Any, meta: dict[str, Any], content_length: int, boundary: str, encoding: Any = None
    ) -> None:
        """Refuse the request before it is read (status 400), when it announces too much; Django reads no more."""
        if content_length > MAX_REQUEST_BYTES:
            raise RequestDataTooBig(f"An upload of {content_length} bytes.")

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Start with the next file of the request."""
        super().new_file(*args, **kwargs)
        self._kept = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take the next piece of the file, which begins at byte `start` of it."""
        if start < MAX_BYTES:
            self._kept.write(raw_data[: MAX_BYTES - start])

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        """Return the file with its real size, and of its content as much as was kept."""
        self._kept.seek(0)
        return InMemoryUploadedFile(
            file=self._kept,
            field_name=self.field_name,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )
