"""Images as people have them: every mode that Pillow reads, and every way to be broken."""

import io
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cl_sr.data.domains import CELEBA
from cl_sr.data.folder import digest, find_images, fit, read_all, read_rgb
from cl_sr.data.prepare import load_domain, manifest
from cl_sr.files import write_text

COLOURS = np.zeros((4, 6, 3), dtype=np.uint8)
COLOURS[:, :3] = (250, 20, 40)
COLOURS[:, 3:] = (10, 200, 90)


def save(path: Path, mode: str = "RGB", **options: object) -> Path:
    image = Image.fromarray(COLOURS)
    image.convert(mode, palette=Image.Palette.ADAPTIVE).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / ("image.jpg" if mode == "CMYK" else "image.png"), mode)
    pixels = read_rgb(path)
    assert pixels.shape == (4, 6, 3)
    assert pixels.dtype == np.uint8
    if mode in {"RGB", "RGBA", "P"}:
        assert np.array_equal(pixels, COLOURS)
    if mode == "L":
        assert (np.ptp(pixels, axis=2) == 0).all()


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    assert read_rgb(tmp_path / name)[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tif", "TIFF", "jpg", "jpeg", "jfif"])
def test_every_ending_is_found(tmp_path: Path, kind: str) -> None:
    lossless = {"quality": 100, "lossless": True} if kind == "webp" else {}
    Image.fromarray(COLOURS).save(
        tmp_path / f"image.{kind}", "JPEG" if kind.startswith("j") else None, **lossless
    )
    images, unreadable = read_all(find_images(tmp_path), 2, lambda pixels: pixels)
    assert not unreadable
    (image,) = images
    assert image.pixels is not None
    assert np.array_equal(image.pixels, COLOURS) or kind.startswith("j")


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    rgba = np.dstack([COLOURS, np.full((4, 6), 255, dtype=np.uint8)])
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    pixels = read_rgb(tmp_path / "rgba.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(pixels[1], COLOURS[1])


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    save(tmp_path / "turned.png", exif=exif)
    assert read_rgb(tmp_path / "turned.png").shape == (6, 4, 3)


def test_broken_files_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    whole = save(tmp_path / "truncated.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    Image.fromarray(COLOURS[:1, :1]).save(tmp_path / "one-pixel.png")
    images, unreadable = read_all(find_images(tmp_path), 2, lambda pixels: pixels)
    assert [image.path for image in images] == [str(good)]
    assert {u.path.name for u in unreadable} == {
        "truncated.jpg",
        "empty.png",
        "text.jpg",
        "one-pixel.png",
    }
    assert all(u.reason and "\n" not in u.reason for u in unreadable)


def test_the_reasons_say_what_is_wrong_without_the_path(tmp_path: Path) -> None:
    whole = save(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "locked").mkdir()
    Image.fromarray(COLOURS[:1, :1]).save(tmp_path / "pixel.png")
    paths = [*find_images(tmp_path), tmp_path / "locked"]  # as one that cannot be read is told
    _, unreadable = read_all(paths, 2, lambda pixels: pixels)
    assert {u.path.name: u.reason for u in unreadable} == {
        "cut.png": "image file is truncated",
        "empty.png": "an empty file",
        "link.png": "No such file or directory",
        "locked": "a folder that cannot be read",
        "page.jpg": "not a JPEG, PNG, WEBP, BMP or TIFF image",
        "pixel.png": "1x1 pixels, at least 2 are needed",
    }


def test_long_images_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (30_000, 20), "red").save(tmp_path / "strip.png")
    (image,), unreadable = read_all(find_images(tmp_path), 2, lambda pixels: fit(pixels, 16))
    assert not unreadable
    assert (image.width, image.height) == (30_000, 20)
    assert image.pixels is not None
    assert image.pixels.shape == (16, 16, 3)


def test_decompression_bombs_are_set_aside_unopened(tmp_path: Path) -> None:
    """A few bytes that say that they are 50,000 x 50,000 pixels."""
    whole = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(b"\0"), b"IEND"):
        whole += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "bomb.png").write_bytes(whole)
    images, unreadable = read_all(find_images(tmp_path), 2, lambda pixels: pixels)
    assert images == []
    assert "decompression bomb" in unreadable[0].reason


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    for number, name in enumerate([b"\xff\xfe.png", b"a\nb.png", b"x.png", b"[b].png"]):
        pixels = np.full((16, 16, 3), number * 50, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / os.fsdecode(name))
    data = load_domain(CELEBA, tmp_path, size=16, scale=4, standin_images=8, split_seed=0)
    assert len(data.train) + len(data.test_files) == 4
    listing = manifest([data], {"celeba": tmp_path})
    write_text(tmp_path / "manifest.csv", listing)
    assert b"\xff\xfe.png" in (tmp_path / "manifest.csv").read_bytes()


def test_images_are_found_below_any_folder_by_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    names = ["x.JPG", "a/y.webp", "a/b/z.bmp", "a/b/ä ö\n.jpeg", "a/u.png"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in find_images(tmp_path)} == set(names)


def test_the_digest_is_of_the_pixels_not_of_the_file(tmp_path: Path) -> None:
    png, bmp = save(tmp_path / "a.png"), save(tmp_path / "a.bmp")
    assert png.read_bytes() != bmp.read_bytes()
    assert digest(read_rgb(png)) == digest(read_rgb(bmp))
    assert digest(COLOURS) != digest(COLOURS.reshape(6, 4, 3))


def test_a_face_is_cut_from_the_middle() -> None:
    tall = np.zeros((218, 178, 3), dtype=np.uint8)
    tall[20:198] = 255  # the middle 178 rows
    assert fit(tall, 178).min() == 255
    assert fit(tall, 32).shape == (32, 32, 3)
    assert fit(tall, 32)[1:-1].min() > 250


def test_a_square_of_the_right_size_is_left_alone() -> None:
    square = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert fit(square, 8) is square


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (9, 90), (16, 24), (24, 16)])
def test_any_image_is_cut_to_any_shape(shape: tuple[int, int]) -> None:
    """Enlarged or shrunk just until both sides reach: on one axis it is whole."""
    height, width = shape
    ramp = np.mgrid[:height, :width].astype(float)
    ramp *= 255 / np.array([height - 1, width - 1])[:, None, None]
    image = np.dstack([*ramp, ramp[0]]).astype(np.uint8)
    cut = fit(image, (16, 24))
    assert cut.shape == (16, 24, 3)
    whole = 0 if height / 16 <= width / 24 else 1
    along = cut[..., whole].mean(axis=1 - whole)
    assert along[0] <= 12
    assert along[-1] >= 243
    middle = cut.astype(float).mean(axis=(0, 1))
    assert middle == pytest.approx([127.5, 127.5, 127.5], abs=3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_pipes_are_left_alone_and_dangling_links_are_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    images, unreadable = read_all(find_images(tmp_path), 2, lambda pixels: pixels)
    assert images == []
    assert [u.path.name for u in unreadable] == ["link.png"]


def test_a_folder_that_cannot_be_read_is_told_and_hidden_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "locked/2.png", ".ipynb_checkpoints/1-checkpoint.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(COLOURS).save(tmp_path / name)
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    (tmp_path / "a" / "above").symlink_to(tmp_path)
    scandir = os.scandir

    def refusing(path: Path) -> Any:  # root may read all, so rights do not show it
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    images, unreadable = read_all(find_images(tmp_path), 2, lambda pixels: pixels)
    assert [Path(image.path).name for image in images] == ["1.png"]
    assert [u.path.name for u in unreadable] == ["locked"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_is_a_traceback(data: st.DataObject) -> None:
    """Bytes of real files changed anywhere: the file is read or set aside."""
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, kind, **({} if kind == "BMP" else {"exif": exif}))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        images, unreadable = read_all([path], 2, lambda pixels: pixels)
    assert len(images) + len(unreadable) == 1
