"""The few SVG elements that the documentation's pictures are made of; the same call gives the same text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

INK, SOFT, RULE, PAPER = "#1f2933", "#616e7c", "#d9dde3", "#ffffff"
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Picture:
    """A picture of `width` by `height` pixels; `title` says in words what it shows, for those who hear it."""

    width: int
    height: int
    title: str
    elements: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = RULE, more: str = "") -> None:
        """A straight line; `more` holds further attributes."""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.elements.append(f'<line {ends} stroke="{colour}" stroke-width="1.5"{more}/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str = SOFT) -> None:
        """A line whose second end carries a head of the same colour."""
        self.line(x1, y1, x2, y2, colour, f' marker-end="url(#head-{colour[1:]})"')

    def path(self, points: list[tuple[float, float]], colour: str) -> None:
        """A line through the points."""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2.5"/>')

    def dot(self, x: float, y: float, colour: str, *, hollow: bool = False) -> None:
        """A round mark."""
        fill = PAPER if hollow else colour
        self.elements.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, fill: str = PAPER) -> None:
        """A rectangle with round corners."""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="8"'
        self.elements.append(f'<rect {place} fill="{fill}" stroke="{colour}" stroke-width="1.5"/>')

    def text(self, x: float, y: float, text: str, colour: str = INK, size: int = 14, more: str = "") -> None:
        """One line of text that begins at x; `more` holds further attributes, such as the anchor."""
        place = f'x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}"'
        self.elements.append(f"<text {place}{more}>{escape(text)}</text>")

    def render(self) -> str:
        """The picture's file."""
        heads = "".join(
            f'<marker id="head-{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
            for colour in (SOFT, "#b3261e")
        )
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">'
        paper = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
        head = [opening, f"<title>{escape(self.title)}</title>", f"<defs>{heads}</defs>", paper]
        return "\n".join([*head, *self.elements, "</svg>", ""])
