"""Foreign text made safe for a terminal, as the report's template makes it for a page.

Names, hosts and errors in a store may come from anybody who can write into it. Control
characters could clear the screen, change its title, or forge lines; they are shown as
what they are, `\\x1b` for an escape.
"""

from __future__ import annotations

import unicodedata

HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode categories that print as nothing or steer a terminal: controls, marks of
direction, lone halves of pairs, private use, separators of lines and paragraphs."""


def safe(text: str) -> str:
    """A line of foreign text; whatever would steer a terminal is shown as escaped."""
    return "".join(map(_shown, text))


def safe_lines(text: str) -> str:
    """Text of several lines, each made safe; for what is not foreign as a whole."""
    return "\n".join(safe(line.replace("\t", "    ")) for line in text.split("\n"))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) not in HARMFUL:
        return character
    return character.encode("unicode_escape").decode()
