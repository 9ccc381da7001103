"""Makes any text drawable: fonts that have its characters, and a stand-in for characters that no font has."""

from __future__ import annotations

import unicodedata
from functools import cache

from matplotlib import font_manager, ft2font

OWN = "DejaVu Sans"
"""The font that comes with matplotlib."""

# Fonts of systems that have what OWN lacks. (Fonts of coloured pictures, such as Noto Color Emoji, can't be drawn.)
_OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "PingFang SC"),
    *("Hiragino Sans", "Hiragino Sans GB", "Microsoft YaHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "SimHei"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Noto Sans KR", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Noto Emoji", "Segoe UI Symbol", "Apple Symbols", "Noto Sans Symbols2", "Symbola"),
)


def drawable(text: str) -> tuple[str, list[str]]:
    """The text as it can be drawn, and the fonts for it, the first one first.

    An emoji that no font has is written as its name (`:fire:`), another such character as `□`, and one that can't be
    printed as `�`.
    """
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.strip())
    if all(ord(c) in _characters(OWN) for c in text):
        return text, [OWN]
    fonts = [OWN, *(name for name in _OTHERS if name in _installed())]
    known = "".join(c if any(ord(c) in _characters(font) for font in fonts) else _stand_in(c) for c in text)
    return known, [font for font in fonts if font == OWN or any(ord(c) in _characters(font) for c in known)]


def columns(text: str) -> int:
    """How wide a text is, in columns of a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def shortened(text: str, width: int) -> str:
    """Cut in the middle to `width` columns: a pod's name tells itself apart at its end."""
    if columns(text) <= width:
        return text
    tail = width // 3
    start, end = text, text
    while columns(start) > width - tail - 1:
        start = start[:-1]
    while columns(end) > tail:
        end = end[1:]
    return f"{start.rstrip()}…{end.lstrip()}"


def _stand_in(character: str) -> str:
    if unicodedata.category(character) == "Mn" or character == "\N{ZERO WIDTH JOINER}":  # belongs to the one before
        return ""
    name = unicodedata.name(character, "") if unicodedata.category(character) == "So" else ""
    return f":{name.lower().replace(' ', '-')}:" if name else "□"


@cache
def _installed() -> frozenset[str]:
    return frozenset(font.name for font in font_manager.fontManager.ttflist)


@cache
def _characters(font: str) -> frozenset[int]:
    try:
        path = font_manager.findfont(font, fallback_to_default=False)
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (ValueError, RuntimeError, OSError):  # gone since it was listed, or damaged
        return frozenset()
