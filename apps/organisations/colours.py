"""A brand's colour made readable: what goes on it, and its variants for light and dark pages (WCAG 2.2, level AA)."""

import colorsys
from dataclasses import dataclass

#: Text (1.4.3) and the shapes of controls (1.4.11) need this much contrast at least.
TEXT_CONTRAST = 4.5
SHAPE_CONTRAST = 3.0

#: The surfaces of static/css/theme.css that brand-coloured text has the least contrast with.
LIGHT_SURFACE = "#f1f3f6"
DARK_SURFACE = "#252c36"

_WHITE, _BLACK = "#ffffff", "#000000"


@dataclass(frozen=True)
class Palette:
    """One brand colour on pages of one brightness."""

    #: What buttons are filled with, and the same under the pointer.
    fill: str
    hover: str
    #: Text on either.
    on_fill: str
    #: The outline that sets a fill off from the page.
    edge: str
    #: Links and other coloured text on the page.
    text: str

    @property
    def is_readable(self) -> bool:
        """Whether text on the brand's colour meets level AA."""
        return all(contrast(self.on_fill, fill) >= TEXT_CONTRAST for fill in (self.fill, self.hover))


@dataclass(frozen=True)
class BrandColours:
    """A brand's colour for light and for dark pages."""

    light: Palette
    dark: Palette

    @classmethod
    def of(cls, colour: str) -> "BrandColours":
        """Return the palettes of a colour written as # and six hexadecimal digits."""
        # On a dark page a dark colour is lightened until its shape is seen; on a light page the brand's own
        # colour stays, with a darker outline if it is too light to be seen.
        return cls(
            light=_palette(colour, surface=LIGHT_SURFACE),
            dark=_palette(with_contrast(colour, on=DARK_SURFACE, ratio=SHAPE_CONTRAST), surface=DARK_SURFACE),
        )


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def text_on(colour: str) -> str:
    """Return white if it is readable on `colour`, else black: one of them always is."""
    return _WHITE if contrast(_WHITE, colour) >= TEXT_CONTRAST else _BLACK


def with_contrast(colour: str, *, on: str, ratio: float) -> str:
    """Return `colour`, or its nearest shade of the same hue that has at least that contrast with `on`."""
    red, green, blue = _channels(colour)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    target = 0.0 if _luminance(on) > _luminance("#767676") else 1.0
    for step in range(101):
        shade = lightness + (target - lightness) * step / 100
        candidate = _hex(*colorsys.hls_to_rgb(hue, shade, saturation)) if step else colour.lower()
        if contrast(candidate, on) >= ratio:
            return candidate
    raise AssertionError("black or white has more contrast than any ratio asked for")


def _palette(fill: str, *, surface: str) -> Palette:
    on_fill = text_on(fill)
    # Away from the text, so that its contrast only grows.
    hover = _mix(fill, _BLACK if on_fill == _WHITE else _WHITE, 0.15)
    return Palette(
        fill=fill.lower(),
        hover=hover,
        on_fill=on_fill,
        edge=with_contrast(fill, on=surface, ratio=SHAPE_CONTRAST),
        text=with_contrast(fill, on=surface, ratio=TEXT_CONTRAST),
    )


def _mix(colour: str, other: str, share: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    red, green, blue = (a + (b - a) * share for a, b in pairs)
    return _hex(red, green, blue)


def _channels(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255


def _hex(red: float, green: float, blue: float) -> str:
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in (red, green, blue))


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1 (WCAG 2.2, "relative luminance")."""
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in _channels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
