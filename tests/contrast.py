"""How easily coloured text is read, as WCAG 2 measures it: 4.5 is what text needs."""

from __future__ import annotations

import re


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance as WCAG 2 defines it; channels from 0 to 255."""
    linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(text: str) -> tuple[float, float, float]:
    red, green, blue = (int(text[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def mixed(
    share: float, one: tuple[float, float, float], other: tuple[float, float, float]
) -> tuple[float, float, float]:
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(one, other, strict=True))
    return red, green, blue


# Text, and backgrounds: of JupyterLab's outputs, of every other row of a table, of a row under the pointer.
PAGES = {
    "light": ((33.0, 33.0, 33.0), ((255.0, 255.0, 255.0), (245.0, 245.0, 245.0), (225.0, 245.0, 254.0))),
    "dark": ((255.0, 255.0, 255.0), ((17.0, 17.0, 17.0), (33.0, 33.0, 33.0), (27.0, 60.0, 75.0))),
}


def least_contrast(style: str, background: str = "") -> float:
    """The worst contrast of text in a style on any background of light and dark notebooks, or on marked lines there."""
    found = re.search(r"(#\w{6}) (\d+)%", style)
    share = re.search(r"currentColor (\d+)%, transparent", style)
    tint = re.search(r"(#\w{6}) (\d+)%, transparent", background)
    contrasts = []
    for text, pages in PAGES.values():
        for page in pages[:2] if tint else pages:
            below = mixed(int(tint[2]) / 100, rgb(tint[1]), page) if tint else page
            colour = mixed(int(found[2]) / 100, rgb(found[1]), text) if found else text
            colour = mixed(int(share[1]) / 100, colour, below) if share else colour
            contrasts.append(contrast(colour, below))
    return min(contrasts)
