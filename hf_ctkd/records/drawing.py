"""Names of others in a figure: no mathematics, no missing glyphs, no endless lines."""


def drawable(text: str, limit: int = 40, otherwise: str | None = None) -> str:
    """A name that matplotlib draws as it is.

    Args:
        text: the name.
        limit: longest name, shortened in its middle.
        otherwise: what to draw when most characters are missing from the font (Chinese labels, emoji); by default the
            missing ones become question marks.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties())).get_charmap()
    line = " ".join(text.split())
    missing = sum(ord(character) not in glyphs for character in line)
    if otherwise is not None and missing > len(line) / 2:
        line = otherwise
    line = "".join(character if ord(character) in glyphs else "?" for character in line)
    if len(line) > limit:
        head = (limit - 1) // 2
        line = f"{line[:head]}…{line[-(limit - 1 - head) :]}"
    return line.replace("$", r"\$")
