"""The colours of figures. A figure's file has both: dark ones are shown where the reader's system is dark."""

COLOURS = ["#1c2b6e", "#9a3412", "#0e7f8c", "#d97706"]
"""Of data, darkest first: apart in lightness, so in greyscale and to the colour-blind too, and from a white ground."""

INK, MUTED, FAINT, RULE = "#1b1b1f", "#5b5b66", "#b9b9c4", "#d5d5dd"
GROUND = "#ffffff"
DARK = {
    **dict(zip(COLOURS, ["#7c9bff", "#d9532c", "#55d6c6", "#ffe9a6"], strict=True)),
    INK: "#e8e8ee",
    MUTED: "#a5a5b2",
    FAINT: "#5a5a66",
    RULE: "#3b3b45",
    GROUND: "#17171b",
}
"""What each of them is on a dark ground; those of the page are the same."""

GROUND_ID = "ground"  # of the rectangle behind a figure: white numbers of a heatmap must stay white


def add_dark(svg: str) -> str:
    """An SVG of matplotlib's whose colours follow the reader's system."""
    rules = [f"#{GROUND_ID} path{{fill:{DARK[GROUND]}!important}}"]
    for light, dark in DARK.items():
        if light != GROUND:
            rules += [f'[style*="{use}: {light}"]{{{use}:{dark}!important}}' for use in ("fill", "stroke")]
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    return svg.replace("<defs>", f"{style}\n <defs>", 1)
