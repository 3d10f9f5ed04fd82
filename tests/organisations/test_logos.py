"""Uploaded logos become small PNGs of our own."""

import io
import zlib

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from apps.organisations import logos


def picture(kind="PNG", size=(40, 20), **options):
    output = io.BytesIO()
    Image.new("RGB", size, "#0f766e").save(output, kind, **options)
    return output.getvalue()


def normalise(content, name="logo.png"):
    return Image.open(logos.normalise_logo(SimpleUploadedFile(name, content)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_picture_becomes_a_png(kind):
    drawn = normalise(picture(kind))

    assert (drawn.format, drawn.size) == ("PNG", (40, 20))


def test_big_picture_becomes_smaller_in_proportion():
    assert normalise(picture(size=(2048, 1024))).size == (512, 256)


def test_nothing_of_the_original_file_is_kept():
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    content = picture("JPEG", exif=exif) + b"<script>alert(1)</script>"

    kept = logos.normalise_logo(SimpleUploadedFile("logo.jpg", content)).read()

    assert b"taken" not in kept
    assert b"script" not in kept


def test_each_upload_has_a_name_of_its_own():
    names = {logos.normalise_logo(SimpleUploadedFile("logo.png", picture())).name for _ in range(2)}

    assert len(names) == 2
    assert all(name.endswith(".png") for name in names)


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b'<svg xmlns="http://www.w3.org/2000/svg"/>', picture()[:60], picture("GIF"), picture("BMP")],
    ids=["empty", "text", "svg", "cut off", "gif", "bmp"],
)
def test_what_is_no_png_jpeg_or_webp_is_refused(content):
    with pytest.raises(ValidationError, match="use PNG, JPEG or WebP"):
        normalise(content)


def test_file_that_is_too_big_is_refused():
    with pytest.raises(ValidationError, match="2 MB"):
        normalise(b"x" * (logos.MAX_BYTES + 1))


@pytest.mark.parametrize("side", [5001, 30_000])
def test_picture_that_would_fill_the_memory_is_refused(side):
    """The header says how big it is; nothing is unpacked."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

    with pytest.raises(ValidationError, match=r"too many pixels|cannot be|can be read"):
        normalise(content)
