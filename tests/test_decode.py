"""Image files of all kinds, as RGB pixels."""

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import decoding
from benchmark.datasets.decoding import decode_file
from benchmark.datasets.resizing import resize
from benchmark.errors import DataError
from benchmark.preprocessing import View

ORIENTATION_TAG = 0x0112


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_png_keeps_its_pixels(tmp_path, rng):
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / "a.png")

    decoded = decode_file(path)

    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("name", ["a.bmp", "a.webp"])
def test_lossless_formats_keep_their_pixels(tmp_path, rng, name):
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    options = {"lossless": True} if name.endswith("webp") else {}
    path = save(Image.fromarray(pixels), tmp_path / name, **options)

    assert np.array_equal(decode_file(path), pixels)


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    path = save(Image.fromarray(np.array([[0, 100, 255]], np.uint8)), tmp_path / "a.png")

    assert decode_file(path).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


# How a viewer turns the stored pixels for each orientation, by the EXIF standard.
TURNED = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
def test_the_exif_rotation_is_applied(tmp_path, rng, orientation):
    pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = save(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)

    assert np.array_equal(decode_file(path), TURNED[orientation](pixels))


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    cyan_magenta_yellow_key = np.full((16, 16, 4), (0, 255, 255, 0), np.uint8)
    path = save(Image.fromarray(cyan_magenta_yellow_key, "CMYK"), tmp_path / "a.jpg", quality=95)

    decoded = decode_file(path)

    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 8, "magenta and yellow ink make red"


def test_transparent_pixels_are_laid_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / "a.png")

    decoded = decode_file(path)

    assert decoded[0, 0].tolist() == [255, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert decoded[0, 2].tolist() == [127, 127, 127]


def test_a_transparent_grey_image_is_laid_on_white(tmp_path):
    path = save(Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA"), tmp_path / "a.png")

    assert decode_file(path).tolist() == [[[10] * 3, [255] * 3]]


def test_the_transparent_colour_of_a_palette_becomes_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    path = save(image, tmp_path / "a.png", transparency=1)

    assert decode_file(path).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]


def test_a_16_bit_grey_png_is_scaled_to_8_bits(tmp_path):
    values = np.array([[0, 255, 256, 0x80FF, 0xFFFF]], np.uint16)
    path = save(Image.fromarray(values), tmp_path / "a.png")

    assert decode_file(path)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert decode_file(path).shape == (1, 5, 3)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((6, 6, 3), colour, np.uint8)) for colour in ((255, 0, 0), (0, 0, 255))]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)

    decoded = decode_file(path)

    assert decoded.shape == (6, 6, 3)
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.webp"])
def test_a_cut_off_file_is_refused_by_name(tmp_path, rng, name):
    path = save(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(DataError, match=rf"{name} cannot be decoded as an image: \w"):
        decode_file(path)


@pytest.mark.parametrize("content", [b"", b"this is a text", b"\xff\xd8\xff\xe0"], ids=["empty", "text", "header"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"notes\.jpg cannot be decoded as an image: \w"):
        decode_file(path)


def test_a_decompression_bomb_is_refused(tmp_path):
    path = save(Image.new("1", (15_000, 15_000)), tmp_path / "bomb.png")
    assert path.stat().st_size < 100_000

    with pytest.raises(DataError, match=r"bomb\.png cannot be decoded .* could be decompression bomb"):
        decode_file(path)


@pytest.mark.slow
def test_a_photo_of_100_megapixels_is_read_without_a_word(tmp_path):
    """Pillow would print a warning of it; here warnings are errors, so another process has to read it."""
    path = save(Image.new("1", (10_000, 10_000)), tmp_path / "large.png")
    code = (
        "import sys, pathlib; from benchmark.datasets.decoding import decode_file;"
        "print(decode_file(pathlib.Path(sys.argv[1])).shape)"
    )

    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, path], capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("(10000, 10000, 3)\n", "")


def test_decoding_in_two_threads_leaves_the_warning_filters_as_they_were(tmp_path, monkeypatch):
    first, second = (save(Image.new("RGB", (2, 2)), tmp_path / name) for name in ("first.png", "second.png"))
    second_is_open, first_is_done = threading.Event(), threading.Event()
    exif_transpose = decoding.ImageOps.exif_transpose

    # The first decoding begins before the second one and ends before it.
    def interleaved(image):
        if Path(image.filename) == first:
            other.start()
            assert second_is_open.wait(10)
        else:
            second_is_open.set()
            assert first_is_done.wait(10)
        return exif_transpose(image)

    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", interleaved)
    other = threading.Thread(target=decode_file, args=(second,))
    before = list(warnings.filters)

    decode_file(first)
    first_is_done.set()
    other.join()

    after, warnings.filters[:] = list(warnings.filters), before
    assert after == before


# A view


def photo(path: Path, size: tuple[int, int], **options: object) -> Path:
    """A JPEG file of a smooth image, as photographs are at the size of their pixels."""
    small = np.random.default_rng(0).integers(50, 200, (4, 4, 3), dtype=np.uint8)
    return save(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), path, quality=92, **options)


@pytest.mark.parametrize("size", [(900, 700), (700, 900), (401, 399)])
@pytest.mark.parametrize("crop", ["squash", "crop", 0.875])
def test_a_large_jpeg_is_decoded_small_with_nearly_the_same_pixels(tmp_path, size, crop):
    view = View(32, "bilinear-antialias", crop)
    path = photo(tmp_path / "a.jpg", size)

    found = decode_file(path, view)

    whole = resize(Image.fromarray(decode_file(path)), view)
    assert found.shape == (32, 32, 3)
    assert np.abs(found.astype(int) - whole).mean() < 1


def test_a_jpeg_is_decoded_at_no_less_than_twice_the_size(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(decoding, "resize", lambda image, _: sizes.append(image.size))
    path = photo(tmp_path / "a.jpg", (4000, 3000))

    for view in (View(224, "area", "squash"), View(224, "lanczos", 0.5), View(30, "bicubic-antialias", "crop")):
        decode_file(path, view)
    decode_file(path, View(30, "bilinear", "squash"))

    assert sizes == [(1000, 750), (2000, 1500), (500, 375), (4000, 3000)]


@pytest.mark.parametrize("orientation", TURNED)
def test_a_turned_photo_is_turned_before_it_is_resized(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    view = View(20, "bilinear-antialias", "crop")

    found = decode_file(photo(tmp_path / "a.jpg", (300, 200), exif=exif), view)

    upright = TURNED[orientation](decode_file(photo(tmp_path / "b.jpg", (300, 200))))
    assert np.abs(found.astype(int) - resize(Image.fromarray(np.ascontiguousarray(upright)), view)).mean() < 2


def test_a_damaged_photo_is_refused_at_any_size(tmp_path):
    path = photo(tmp_path / "a.jpg", (900, 700))
    path.write_bytes(path.read_bytes()[:2000])

    for view in (None, View(32, "bilinear-antialias", "squash"), View(32, "bilinear", "squash")):
        with pytest.raises(DataError, match="cannot be decoded"):
            decode_file(path, view)
