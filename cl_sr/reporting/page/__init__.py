"""The HTML report: one file with all in it, that needs no network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape

import cl_sr
from cl_sr.reporting.tables import Table

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG, and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Tiles:
    """A row of images; None where there is none."""

    name: str
    tiles: list[str | None]  # as data: addresses


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns, with a viewer that lays one over another.

    Attributes:
        anchor: unique in the page.
        title: over it.
        columns, rows: what it holds.
        height, width: of the images, for a zoom in whole pixels.
        before, after: the columns that the viewer begins with.
        note: under it.
    """

    anchor: str
    title: str
    columns: list[str]
    rows: list[Tiles]
    height: int
    width: int
    before: str = ""
    after: str = ""
    note: str = ""

    @property
    def viewer(self) -> bool:
        return bool(self.before and self.after)

    @property
    def times(self) -> int:
        """Of tiles on the screen: a pixel is so many, and the shorter side about 96."""
        return max(1, round(96 / min(self.height, self.width)))

    @property
    def zoom(self) -> int:
        """To begin with: about 380 pixels on the screen."""
        return max(1, min(24, 380 // self.width))


def _breakable(text: object) -> Markup:
    """Lets a long name of options, as `replay:size=16,policy=each`, go on in another line."""
    return Markup(re.sub(r"([:,+])(?=\w)", r"\1<wbr>", str(escape(text))))


@dataclass(frozen=True)
class Section:
    """A part of the page; what it holds is shown in the order of the attributes."""

    anchor: str
    title: str
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    note: str = ""
    grids: list[Grid] = field(default_factory=list)
    details: list[tuple[str, str]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of the page.
        headline: the result in a sentence.
        warning: what is wrong with it, such as an unfinished run; else empty.
        sections: with different anchors.
    """

    title: str
    headline: str
    sections: list[Section]
    warning: str = ""

    def html(self) -> str:
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["breakable"] = _breakable
        template = environment.from_string((FOLDER / "report.html.j2").read_text("utf-8"))
        return template.render(
            page=self,
            version=cl_sr.__version__,
            css=Markup((FOLDER / "report.css").read_text("utf-8")),
            script=Markup((FOLDER / "report.js").read_text("utf-8")),
        )
