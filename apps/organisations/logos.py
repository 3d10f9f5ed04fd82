"""Logos that people upload: made into small square PNGs of our own, whatever they were."""

import io
import secrets
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File
from django.db import models, transaction
from django.db.models.fields.files import FieldFile
from django.utils.translation import gettext_lazy as _
from PIL import Image, ImageOps, UnidentifiedImageError

#: Of an upload. What is more than that is never read.
MAX_BYTES = 1024 * 1024
#: Longest side of an upload, in pixels. Its header says so, before anything is unpacked.
MAX_SIDE = 2_000
#: Longest side of what is kept, in pixels.
SIZE = 512
_FORMATS = ("PNG", "JPEG", "WEBP")
#: A photo has one scan, a progressive one about ten; each costs the decoder a walk over the whole picture, but only a
#: few bytes of the file, so that 1 MB of scans would keep a processor busy for minutes.
_MAX_JPEG_SCANS = 100
_START_OF_SCAN = b"\xff\xda"  # cannot occur in a scan's data (ITU-T T.81, B.1.1.5)


class LogoField(forms.FileField):
    """An upload that becomes a square PNG of at most 512 × 512 pixels, with nothing else of the original file in it."""

    widget = forms.ClearableFileInput

    def clean(self, data: Any, initial: Any = None) -> Any:
        """Return the new logo, or what a FileField returns where none was uploaded."""
        upload = super().clean(data, initial)
        return normalise_logo(upload) if data and upload is data else upload

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "accept": "image/png,image/jpeg,image/webp"}


def normalise_logo(upload: File) -> ContentFile:
    """Return the middle of the picture in `upload` as a square PNG.

    Its name is its own, so that no cache shows the old one. Drawing it anew drops metadata (where a photo was taken),
    all frames but the first, and anything hidden in the file. Raises ValidationError, which says what to do.
    """
    if upload.size > MAX_BYTES:
        raise ValidationError(_("The picture is too big. Use one of at most 1 MB."), code="too_big")
    content = upload.read(MAX_BYTES)
    picture = _open(content)
    if max(picture.size) > MAX_SIDE:
        raise _too_many_pixels()
    drawn = _draw(picture)
    side = min(*drawn.size, SIZE)
    square = ImageOps.fit(drawn, (side, side), Image.Resampling.LANCZOS)
    output = io.BytesIO()
    square.save(output, "PNG", optimize=True)
    return ContentFile(output.getvalue(), name=f"{secrets.token_hex(8)}.png")


def _open(content: bytes) -> Image.Image:
    """Read the header, and of the rest only what comes before the pixels."""
    try:
        picture = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ValidationError(_("Use a PNG, JPEG or WebP picture."), code="wrong_kind") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # the parsers raise whatever a crafted file leads them to
        raise _unreadable() from error
    if content.startswith(b"\xff\xd8") and content.count(_START_OF_SCAN) > _MAX_JPEG_SCANS:
        raise _unreadable()
    return picture


def _draw(picture: Image.Image) -> Image.Image:
    """Unpack the first frame and copy its pixels, upright, to a canvas that knows nothing of the file."""
    try:
        picture.load()
        upright = _upright(picture)
        if upright.mode.startswith("I"):  # 16 bits of grey, which a plain conversion would clip to white
            upright = upright.point(lambda value: value / 256).convert("L")
        pixels = upright.convert("RGBA")
    except Exception as error:  # as above
        raise _unreadable() from error
    # Not the same image without its `info`: saving would write a colour profile, i.e. bytes of the uploader's choice.
    canvas = Image.new("RGBA", pixels.size)
    canvas.paste(pixels)
    return canvas


def _upright(picture: Image.Image) -> Image.Image:
    """Turn it as its camera says; a word of the camera's that makes no sense is no reason to refuse the picture."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # as above
        return picture


def _too_many_pixels() -> ValidationError:
    message = _("The picture has too many pixels. Use one of at most %(side)s × %(side)s pixels.")
    return ValidationError(message, code="too_many_pixels", params={"side": MAX_SIDE})


def _unreadable() -> ValidationError:
    return ValidationError(
        _("This picture cannot be read. Save it again as PNG, JPEG or WebP and try once more."), code="unreadable"
    )


@transaction.atomic
def replace_logo(*, row: models.Model, logo: File | None) -> None:
    """Give `row` (an organisation, an application: its field is `logo`) the logo of a LogoField, or none.

    The old file goes when the transaction is committed: until then the old row may still be the valid one. The
    row is locked, so that of two at the same moment neither leaves a file behind; what only refers to it, like a token
    of an application, does not wait.
    """
    rows = type(row)._default_manager.select_for_update(no_key=True, of=("self",))
    delete_after_commit(rows.only("logo").get(pk=row.pk).logo)  # type: ignore[attr-defined]
    row.logo = logo or ""  # type: ignore[attr-defined]
    row.save(update_fields=["logo"])


def delete_after_commit(logo: FieldFile) -> None:
    """Delete a logo's file, if there is one, when the transaction is committed.

    A storage that fails is logged: nobody's change fails because an old file stays.
    """
    if not logo:
        return
    storage, name = logo.storage, str(logo.name)
    transaction.on_commit(lambda: storage.delete(name), robust=True)
