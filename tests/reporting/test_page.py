"""The HTML report: what is in the file, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import make_run

from cl_sr.reporting import build_report, publish_run
from cl_sr.reporting.page import Page, Section
from cl_sr.reporting.samples import error_map
from cl_sr.reporting.tables import Table
from cl_sr.runs.record import Record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
VOID = {"meta", "img", "input", "br", "link", "hr"}


class Checker(HTMLParser):
    """Collects what a page holds, and that its elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.inputs: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        self.addresses += [str(values[k]) for k in ("href", "src", "xlink:href") if values.get(k)]
        if tag == "img":
            self.images.append(values)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run")
    publish_run(build_report(Record(folder.path)))
    return folder.path / "report.html"


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    return checker


def test_the_page_is_whole_and_needs_no_network(page: Path) -> None:
    found = check(page.read_text(encoding="utf-8"))
    assert len(set(found.ids)) == len(found.ids)
    for address in found.addresses:
        assert address.startswith(("#", "data:image/png;base64,")), address
    targets = {address[1:] for address in found.addresses if re.match("#[a-z]+$", address)}
    assert targets <= set(found.ids)
    text = page.read_text(encoding="utf-8")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_every_image_has_words_and_pixels(page: Path) -> None:
    found = check(page.read_text(encoding="utf-8"))
    tiles = [image for image in found.images if image.get("src")]
    # Two domains of two images in 5 columns, and 2 error maps of each.
    assert len(tiles) == 2 * 2 * 7
    assert all(image["alt"] for image in tiles)
    source = str(tiles[0]["src"]).partition("base64,")[2]
    with Image.open(io.BytesIO(base64.b64decode(source))) as image:
        assert image.size == (4, 4)  # low resolution, as it is


def test_the_figures_and_what_repeats_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in ("23.25", "+4.25", "rgb8", "/run/config.yaml --out DIR", "stand-in images"):
        assert part in text
    tables = {path.name for path in (page.parent / "tables").iterdir()}
    assert {"psnr-of-every-domain.csv", "psnr-of-every-domain.tex", "forgetting.tex"} <= tables


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", state="interrupted")
    publish_run(build_report(Record(folder.path)))
    text = (folder.path / "report.html").read_text(encoding="utf-8")
    assert 'role="alert">Unfinished run: interrupted at iteration 10 of 20' in text


def test_what_users_name_is_text_and_no_markup() -> None:
    evil = '<script>alert("x")</script>&amp;'
    table = Table(evil, [evil, "b"], [[evil, "1"]])
    text = Page(evil, evil, [Section("a", evil, [table], note=evil)], evil).html()
    assert "<script>alert" not in text
    check(text)


def test_the_same_report_is_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    folder = make_run(tmp_path / "run")
    for _ in range(2):
        publish_run(build_report(Record(folder.path)))
        pages.append((folder.path / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_an_error_map_is_brighter_where_the_error_is_larger() -> None:
    truth = np.zeros((1, 3, 3), dtype=np.uint8)
    image = truth.copy()
    image[0, 1], image[0, 2] = 40, 255
    shades = error_map(image, truth).sum(axis=2)[0]
    assert shades[0] < shades[1] < shades[2]


# In a browser


def in_browser(page: Path, script: str, *options: str) -> str:
    """What a page holds after a script has run at its end."""
    copy = page.with_name("with-script.html")
    text = page.read_text(encoding="utf-8")
    body = (
        "<script>try {"
        + script
        + "} catch (e) { document.title = 'failed: ' + e; }</script></body>"
    )
    copy.write_text(text.replace("</body>", body), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *options]
    command += ["--virtual-time-budget=2000", "--dump-dom", copy.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search("<title>(.*?)</title>", result.stdout, re.DOTALL)
    assert found
    return found[1]


browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@browser
@pytest.mark.slow
def test_the_viewer_lays_the_images_over_each_other(page: Path) -> None:
    told = in_browser(
        page,
        """
        const viewer = document.querySelector(".viewer");
        const set = (name, value) => {
          const control = viewer.querySelector(`[name="${name}"]`);
          control.value = value;
          control.dispatchEvent(new Event("input", { bubbles: true }));
        };
        const tile = (row, column) =>
          document.querySelectorAll(".tiles")[0].tBodies[0].rows[row].cells[column + 1]
            .querySelector("img").src;
        const [under, over] = viewer.querySelectorAll(".pair img");
        const first = [under.src === tile(0, 2), over.src === tile(0, 3), viewer.hidden];
        set("image", 1); set("before", 0); set("after", 4); set("zoom", 7); set("split", 25);
        const box = over.getBoundingClientRect();
        const edge = viewer.querySelector(".edge").style.left;
        document.title = JSON.stringify([
          ...first, under.src === tile(1, 0), over.src === tile(1, 4),
          box.width, box.height, over.style.clipPath.replace(/0px/g, "0"), edge,
        ]);
        """,
    )
    assert told == '[true,true,false,true,true,112,112,"inset(0 0 0 25%)","25%"]'


@browser
@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(page: Path) -> None:
    told = in_browser(
        page,
        "document.title = document.documentElement.scrollWidth <= window.innerWidth;",
        "--window-size=500,900",
    )
    assert told == "true"


@browser
@pytest.mark.slow
@pytest.mark.parametrize(("width", "fits"), [(1280, "true true"), (500, "true false")])
def test_the_widest_table_of_a_comparison_fits_a_laptop(
    tmp_path: Path, width: int, fits: str
) -> None:
    """A phone scrolls the table, not the page."""
    name = "timestep-window:start=1000,stop=1500"
    head = ["strategy", "seeds", "celeba", "animef", "forgetting", "gain", "share of gain"]
    cells = ["3", *["0.5344 ± 0.0099"] * 2, *["+0.1593 ± 0.0053"] * 2, "100 ± 10 %"]
    section = Section("results", "Results", [Table("SSIM", head, [[name, *cells]])])
    page = tmp_path / "page.html"
    page.write_text(Page("A sweep", "", [section]).html(), encoding="utf-8")
    told = in_browser(
        page,
        """
        const table = document.querySelector(".scroll");
        const whole = document.documentElement.scrollWidth <= window.innerWidth;
        document.title = `${whole} ${table.scrollWidth <= table.clientWidth}`;
        """,
        f"--window-size={width},900",
    )
    assert told == fits


@browser
@pytest.mark.slow
def test_every_control_is_reached_by_the_keyboard_and_has_a_name(page: Path) -> None:
    told = in_browser(
        page,
        """
        const controls = [...document.querySelectorAll("select, input, .scroll, .stage, summary")];
        const bad = controls.filter((c) => c.tabIndex < 0 || !(
          c.closest("label") || c.getAttribute("aria-label") || c.textContent.trim()));
        document.title = `${controls.length > 10} ${bad.length}`;
        """,
    )
    assert told == "true 0"


@browser
@pytest.mark.slow
def test_text_can_be_read_in_the_light_and_in_the_dark(page: Path) -> None:
    script = """
        const light = (colour) => {
          const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map((v) => {
            v /= 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        const least = Math.min(...[...document.querySelectorAll("p, td, th, a, summary, svg")].map(
          (e) => {
            const ink = light(getComputedStyle(e).color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
          }));
        document.title = `${paper > 0.5} ${least >= 4.5}`;
    """
    assert in_browser(page, script, "--blink-settings=preferredColorScheme=1") == "true true"
    assert in_browser(page, script, "--blink-settings=preferredColorScheme=0") == "false true"
