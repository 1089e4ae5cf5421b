"""HTML made of elements. Every text is escaped; what an element returns is printed as it is inside another."""

from __future__ import annotations

import html

VOID = ("rect", "line")


class Html(str):
    """Markup that this package made, from texts that were escaped."""


def element(name: str, *children: str | None, **attributes: str | int | float | None) -> Html:
    """An element with its children in order: texts are escaped, `Html` is not, None is left out. An attribute of None
    is left out, and `class_` stands for class, `aria_label` for aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Html:
    """Texts and markup one after another."""
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children if c is not None))


def style(css: str) -> Html:
    """A <style> element of CSS that this package ships."""
    return Html(f"<style>{css}</style>")
