import pytest

from apps.organisations.colours import (
    DARK_SURFACE,
    LIGHT_SURFACE,
    SHAPE_CONTRAST,
    TEXT_CONTRAST,
    BrandColours,
    contrast,
    text_on,
    with_contrast,
)

#: The hardest ones: the ends of the scale, the middle, and hues that are bright or dark by themselves.
COLOURS = ["#000000", "#ffffff", "#767676", "#ffd100", "#0000ff", "#00ff00", "#ff0000", "#2c5282", "#0f766e"]


def test_contrast_is_wcags_ratio() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.01)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("colour", COLOURS)
def test_text_on_any_brand_colour_is_readable(colour: str) -> None:
    assert contrast(text_on(colour), colour) >= TEXT_CONTRAST


@pytest.mark.parametrize("colour", COLOURS)
def test_brand_colours_meet_level_aa_in_light_and_dark(colour: str) -> None:
    colours = BrandColours.of(colour)
    for palette, surface in ((colours.light, LIGHT_SURFACE), (colours.dark, DARK_SURFACE)):
        assert palette.is_readable
        assert contrast(palette.text, surface) >= TEXT_CONTRAST
        assert contrast(palette.edge, surface) >= SHAPE_CONTRAST


def test_a_readable_colour_stays_as_it_is() -> None:
    assert BrandColours.of("#2C5282").light.fill == "#2c5282"
    assert with_contrast("#2c5282", on="#ffffff", ratio=TEXT_CONTRAST) == "#2c5282"
