"""Logos that people upload: made into small PNGs of our own, whatever they were."""

import io
import secrets
import warnings
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File
from django.utils.translation import gettext_lazy as _
from PIL import Image, ImageOps

MAX_BYTES = 2 * 1024 * 1024
MAX_PIXELS = 25_000_000
#: Longest side of what is kept, in pixels.
SIZE = 512
_FORMATS = ("PNG", "JPEG", "WEBP")


class LogoField(forms.FileField):
    """An upload that becomes a PNG of at most 512 × 512 pixels, with nothing else of the original file in it."""

    widget = forms.ClearableFileInput

    def clean(self, data: Any, initial: Any = None) -> Any:
        """Return the new logo, or what a FileField returns where none was uploaded."""
        upload = super().clean(data, initial)
        return normalise_logo(upload) if data and upload is data else upload

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "accept": "image/png,image/jpeg,image/webp"}


def normalise_logo(upload: File) -> ContentFile:
    """Return the picture in `upload` as a PNG under a name of its own, so that no cache shows the old one.

    Drawing it anew drops metadata (where a photo was taken) and anything hidden in the file. Raises ValidationError.
    """
    if upload.size > MAX_BYTES:
        raise ValidationError(_("The picture is too big: use at most 2 MB."))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(upload, formats=_FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise ValidationError(_("The picture has too many pixels: use at most 5000 × 5000."))
            drawn = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValidationError(_("This is not a picture that can be read: use PNG, JPEG or WebP.")) from error
    drawn.thumbnail((SIZE, SIZE))
    output = io.BytesIO()
    drawn.save(output, "PNG", optimize=True)
    return ContentFile(output.getvalue(), name=f"{secrets.token_hex(8)}.png")
