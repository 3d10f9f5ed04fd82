"""Uploaded logos become small square PNGs of our own; everything else is refused in words a person understands."""

import io
import random
import zipfile
import zlib

import pytest
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image, PngImagePlugin

from apps.organisations import logos, uploads
from tests.developers.test_administration import change as change_application

TEAL = (15, 118, 110)
CHANGE = "/admin/organisations/organisation/{}/change/"


@pytest.fixture(autouse=True)
def _own_storage(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def picture(kind="PNG", size=(40, 20), mode="RGB", colour="#0f766e", **options):
    output = io.BytesIO()
    Image.new(mode, size, colour).save(output, kind, **options)
    return output.getvalue()


def animation(kind):
    """Two frames, teal and red."""
    output = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), colour) for colour in (TEAL, "red")]
    frames[0].save(output, kind, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    return output.getvalue()


def png_chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width, height, *, depth=8, colour_type=2, pixels=b""):
    """A PNG put together by hand, which need not have the pixels that its header claims."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour_type, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def zipped():
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("evil.html", "<script>alert(1)</script>")
    return output.getvalue()


def kept(content, name="logo.png"):
    return logos.normalise_logo(SimpleUploadedFile(name, content)).read()


def normalise(content):
    return Image.open(io.BytesIO(kept(content)))


# --- what is taken ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (30, 30)])
def test_picture_becomes_a_square_png(kind, size):
    drawn = normalise(picture(kind, size))

    assert (drawn.format, drawn.mode, drawn.size) == ("PNG", "RGBA", (min(size), min(size)))


@pytest.mark.parametrize(
    ("size", "side"), [((2000, 1000), 512), ((2000, 2000), 512), ((600, 400), 400), ((2000, 1), 1)]
)
def test_big_picture_becomes_smaller_and_none_becomes_bigger(size, side):
    assert normalise(picture(size=size)).size == (side, side)


def test_middle_is_kept():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste(TEAL, (100, 0, 200, 100))
    output = io.BytesIO()
    wide.save(output, "PNG")

    drawn = normalise(output.getvalue())

    assert {drawn.getpixel((x, 50)) for x in range(100)} == {(*TEAL, 255)}


def test_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upside_down = Image.new("RGB", (20, 20), "white")
    upside_down.paste("black", (0, 10, 20, 20))
    output = io.BytesIO()
    upside_down.save(output, "JPEG", exif=exif)

    drawn = normalise(output.getvalue())

    assert drawn.getpixel((10, 2))[0] < 50 < 200 < drawn.getpixel((10, 17))[0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_only_the_first_frame_of_an_animation_is_kept(kind):
    drawn = normalise(animation(kind))

    assert getattr(drawn, "n_frames", 1) == 1
    assert drawn.getpixel((20, 20)) == (*TEAL, 255)


def test_transparency_is_kept():
    content = picture(mode="RGBA", size=(10, 10), colour=(*TEAL, 0))

    assert normalise(content).getpixel((5, 5))[3] == 0


def test_palette_with_a_transparent_colour():
    palette = Image.new("P", (10, 10), 1)
    palette.putpalette([255, 0, 0, *TEAL])
    palette.paste(0, (0, 0, 5, 10))
    output = io.BytesIO()
    palette.save(output, "PNG", transparency=0)

    drawn = normalise(output.getvalue())

    assert drawn.getpixel((1, 5))[3] == 0
    assert drawn.getpixel((8, 5)) == (*TEAL, 255)


def test_sixteen_bits_of_grey():
    drawn = normalise(picture(mode="I;16", size=(10, 10), colour=0x8000))

    assert drawn.getpixel((5, 5)) == (128, 128, 128, 255)


def test_sixteen_bits_of_colour():
    row = b"\x00" + b"".join(value.to_bytes(2, "big") for value in (0x8000, 0x4000, 0xFFFF)) * 4

    drawn = normalise(png(4, 4, depth=16, pixels=row * 4))

    assert drawn.getpixel((2, 2)) == (128, 64, 255, 255)


def test_one_bit_a_pixel():
    assert normalise(picture(mode="1", size=(10, 10), colour=1)).getpixel((5, 5)) == (255, 255, 255, 255)


def test_colours_of_print():
    red, green, blue, alpha = normalise(picture("JPEG", (16, 16), "CMYK", (0, 255, 255, 0))).getpixel((8, 8))

    assert (red > 230, green < 40, blue < 40, alpha) == (True, True, True, 255)


def test_progressive_jpeg():
    assert normalise(picture("JPEG", (64, 64), progressive=True)).size == (64, 64)


def test_each_upload_has_a_name_of_its_own():
    names = {logos.normalise_logo(SimpleUploadedFile("../x.html", picture())).name for _ in range(2)}

    assert len(names) == 2
    assert all(name.endswith(".png") and "/" not in name for name in names)


# --- nothing of the original survives ---------------------------------------------------------


def jpeg_with_metadata():
    exif = Image.Exif()
    exif[0x010E] = "SMUGGLED"
    return picture("JPEG", exif=exif, comment=b"<!-- SMUGGLED -->", icc_profile=b"SMUGGLED" * 20)


def png_with_metadata():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "<script>SMUGGLED</script>")
    texts.add_text("zipped", "SMUGGLED" * 9, zip=True)
    return picture(pnginfo=texts, icc_profile=b"SMUGGLED" * 20, exif=b"Exif\x00\x00SMUGGLED")


def webp_with_metadata():
    return picture("WEBP", icc_profile=b"SMUGGLED" * 20, exif=b"Exif\x00\x00SMUGGLED", xmp=b"<SMUGGLED/>")


@pytest.mark.parametrize(
    "content",
    [
        jpeg_with_metadata(),
        png_with_metadata(),
        webp_with_metadata(),
        picture("PNG") + zipped(),
        picture("JPEG") + b"<script>SMUGGLED</script>",
        picture("WEBP") + zipped(),
    ],
    ids=["jpeg comment", "png texts", "webp xmp", "png and zip", "jpeg and html", "webp and zip"],
)
def test_nothing_but_pixels_is_kept(content):
    """PNG's chunks name what there is: header, pixels, end; so no profile, no text, nothing behind the end."""
    result = kept(content)

    position, names = 8, []
    while position < len(result):
        length = int.from_bytes(result[position : position + 4], "big")
        names.append(result[position + 4 : position + 8])
        position += 12 + length
    assert [name for name in names if name != b"IDAT"] == [b"IHDR", b"IEND"]
    assert position == len(result)
    for trace in (b"SMUGGLED", b"script", b"PK\x03\x04"):
        assert trace not in result


# --- what is refused ---------------------------------------------------------------------------

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        SVG,
        zlib.compress(SVG),
        picture("GIF", mode="P", colour=0),
        b"GIF89a/*" + bytes(60) + b"*/=1;alert(1)//",
        picture("BMP"),
        picture("TIFF"),
        picture("ICO"),
        picture("PPM"),
        b"%PDF-1.7\n%%EOF",
        b"<html><script>alert(1)</script></html>",
        zipped() + picture(),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "svgz",
        "gif",
        "gif and js",
        "bmp",
        "tiff",
        "ico",
        "ppm",
        "pdf",
        "html",
        "zip and png",
    ],
)
@pytest.mark.parametrize("name", ["logo.png", "logo.svg"])
def test_what_is_no_png_jpeg_or_webp_is_refused(content, name):
    with pytest.raises(ValidationError, match="Use a PNG, JPEG or WebP picture") as refusal:
        kept(content, name)

    assert refusal.value.code == "wrong_kind"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_file_is_refused(kind):
    content = picture(kind, (200, 200), mode="RGB") if kind != "PNG" else png(200, 200, pixels=bytes(601) * 200)

    for length in range(40, len(content) - 20, 7):
        with pytest.raises(ValidationError, match=r"Save it again as PNG|Use a PNG"):
            kept(content[:length])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_file_is_drawn_or_refused_and_never_an_error(kind):
    chance = random.Random(kind)
    content = picture(kind, (60, 60), exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00")
    answers = set()
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            answers.add(normalise(bytes(damaged)).format)
        except ValidationError as error:
            answers.add(error.code)

    assert answers <= {"PNG", "wrong_kind", "unreadable", "too_many_pixels"}
    assert "unreadable" in answers


def test_file_that_is_too_big_is_refused():
    with pytest.raises(ValidationError, match="at most 1 MB"):
        kept(picture() + bytes(logos.MAX_BYTES))


def test_file_of_just_the_size_is_taken():
    content = picture()

    assert normalise(content + bytes(logos.MAX_BYTES - len(content))).size == (20, 20)


def test_never_more_than_the_limit_is_read():
    """Even if an upload's own word about its size is wrong."""

    class Endless:
        size = 1

        def read(self, length):
            assert 0 < length <= logos.MAX_BYTES
            return picture() + bytes(length)

    assert logos.normalise_logo(Endless()).size > 0


@pytest.mark.parametrize(
    "size", [(2001, 10), (10, 2001), (5000, 5000), (10_000, 10_000), (30_000, 30_000), (2**31 - 1,) * 2]
)
def test_picture_that_would_fill_the_memory_is_refused(size):
    """The header says how big it is; nothing is unpacked."""
    with pytest.raises(ValidationError, match=r"at most 2000 × 2000 pixels|cannot be read"):
        kept(png(*size))


def test_text_that_unpacks_to_a_lot_is_refused():
    """1 MB of compressed text would be 1 GB."""
    bomb = b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(64 * 1024 * 1024), 9)
    content = picture()

    with pytest.raises(ValidationError, match="cannot be read"):
        kept(content[:33] + png_chunk(*bomb) + content[33:])


def test_jpeg_that_would_keep_the_processor_busy_is_refused():
    """Each scan is a few bytes, and a walk over the whole picture: 1 MB of them took minutes."""
    content = picture("JPEG", (2000, 2000), progressive=True)
    scan = content[content.rfind(b"\xff\xda") : -2]
    bomb = content[:-2] + scan * 30_000
    assert len(bomb) < logos.MAX_BYTES

    with pytest.raises(ValidationError, match="cannot be read"):
        kept(bomb[:-2] + b"\xff\xd9")


# --- uploads through a form --------------------------------------------------------------------


def change(client, organisation, **fields):
    page = client.get(CHANGE.format(organisation.pk)).context["adminform"].form
    data = {name: page.initial.get(name) or "" for name in page.fields if name != "logo"}
    inline = {"reviewers-TOTAL_FORMS": "0", "reviewers-INITIAL_FORMS": "0"}
    return client.post(CHANGE.format(organisation.pk), {**data, **inline, **fields})


def upload(content):
    return SimpleUploadedFile("logo.png", content, content_type="image/png")


def stored(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_ten_megabytes_are_refused_kindly(administrator, organisation, tmp_path):
    page = change(administrator, organisation, logo=upload(picture() + bytes(10 * 1024 * 1024)))

    assert page.status_code == 200
    assert "The picture is too big. Use one of at most 1 MB." in page.content.decode()
    assert stored(tmp_path) == []


def test_of_a_big_file_only_the_first_part_is_kept(rf):
    content = picture() + bytes(3 * 1024 * 1024)

    file = rf.post("/", {"logo": upload(content)}).FILES["logo"]

    assert file.size == len(content)
    assert file.read() == content[: logos.MAX_BYTES]
    assert not hasattr(file, "temporary_file_path")


def test_several_files_are_kept_apart(rf):
    files = rf.post("/", {"a": upload(b"first"), "b": upload(b"second")}).FILES

    assert (files["a"].read(), files["b"].read()) == (b"first", b"second")


@pytest.mark.parametrize("path", ["/account/login/", "/"])
def test_upload_far_beyond_all_forms_is_not_even_read(db, organisation, monkeypatch, path):
    monkeypatch.setattr(uploads, "MAX_REQUEST_BYTES", 5_000)
    client = Client(enforce_csrf_checks=True)
    assert client.get("/account/login/").cookies

    assert client.post(path, {"logo": upload(bytes(4_000))}).status_code == 403
    assert client.post(path, {"logo": upload(bytes(6_000))}).status_code == 413


# --- replacing and serving ---------------------------------------------------------------------


def put_logo(row, colour="red"):
    logos.replace_logo(row=row, logo=logos.normalise_logo(upload(picture(colour=colour))))
    row.refresh_from_db()
    return row.logo.name


def test_old_file_goes_when_its_replacement_is_committed(organisation, application, django_capture_on_commit_callbacks):
    for row in (organisation, application.row):
        with django_capture_on_commit_callbacks(execute=True):
            old = put_logo(row)
        with django_capture_on_commit_callbacks(execute=True):
            new = put_logo(row, "blue")
            assert default_storage.exists(old), "until the commit"
        assert not default_storage.exists(old)
        assert default_storage.exists(new)


@pytest.mark.django_db(transaction=True)
def test_old_file_stays_when_its_replacement_is_rolled_back(organisation):
    old = put_logo(organisation)

    def replace_and_fail():
        with transaction.atomic():
            put_logo(organisation, "blue")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        replace_and_fail()

    organisation.refresh_from_db()
    assert organisation.logo.name == old
    assert default_storage.exists(old)


@pytest.mark.django_db(transaction=True)
def test_second_of_two_who_read_the_same_logo_leaves_no_file_behind(organisation, tmp_path):
    put_logo(organisation)
    stale = type(organisation).objects.get()
    put_logo(organisation, "blue")

    name = put_logo(stale, "green")

    assert stored(tmp_path) == [name.rpartition("/")[2]]


def test_what_refers_to_the_row_does_not_wait_for_its_logo(application):
    # A token's row takes FOR KEY SHARE of its application's, which FOR UPDATE keeps waiting, and this does not.
    with CaptureQueriesContext(connection) as queries:
        logos.replace_logo(row=application.row, logo=None)

    [lock] = [query["sql"] for query in queries if "FOR " in query["sql"]]
    assert "FOR NO KEY UPDATE" in lock


@pytest.mark.django_db(transaction=True)
def test_logo_is_taken_away(organisation, tmp_path):
    put_logo(organisation)

    logos.replace_logo(row=organisation, logo=None)

    organisation.refresh_from_db()
    assert not organisation.logo
    assert stored(tmp_path) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("fields", "left"), [({"logo": "new"}, 1), ({"logo-clear": "on"}, 0), ({}, 1)])
def test_administration_keeps_one_file_at_most(administrator, organisation, tmp_path, fields, left):
    put_logo(organisation)
    before = stored(tmp_path)
    sent = {name: upload(picture()) if value == "new" else value for name, value in fields.items()}

    assert change(administrator, organisation, **sent).status_code == 302

    assert len(stored(tmp_path)) == left
    assert (stored(tmp_path) == before) == (not fields)


@pytest.mark.django_db(transaction=True)
def test_administration_keeps_one_file_of_an_application_s_logos(administrator, application, tmp_path):
    put_logo(application.row)
    before = stored(tmp_path)

    assert change_application(administrator, application.row, logo=upload(picture())).status_code == 302

    assert len(stored(tmp_path)) == 1
    assert stored(tmp_path) != before


@pytest.mark.django_db(transaction=True)
def test_logo_goes_with_its_organisation(administrator, other_organisation, tmp_path):
    put_logo(other_organisation)

    administrator.post(f"/admin/organisations/organisation/{other_organisation.pk}/delete/", {"post": "yes"})

    assert stored(tmp_path) == []


def test_logo_is_served_as_a_picture_and_nothing_else(client, organisation):
    put_logo(organisation)

    response = client.get(organisation.logo.url)
    response.close()

    assert response["Content-Type"] == "image/png"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.png.html", "x.webp", "x"])
def test_no_other_file_of_the_folder_is_served(client, organisation, name):
    default_storage.save(f"logos/organisations/{name}", io.BytesIO(b"<script>alert(1)</script>"))

    assert client.get(f"/media/logos/organisations/{name}").status_code == 404
