"""Small image files, and folders of them."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, seed: int = 0, **options: object) -> Path:
    """An image of random pixels; two of one seed and format are equal byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)).save(path, **options)
    return path


def write_grey(path: Path, values: list[int]) -> Path:
    """A 16-bit grey image of one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([values], np.uint16)).save(path)
    return path


def write_wide_png(path: Path, value: int) -> Path:
    """A PNG of one pixel whose three colours have this 16-bit value; Pillow reads such files and cannot write them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">3H", *[value] * 3)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    return path


def write_classes(root: Path, counts: dict[str, int]) -> Path:
    """A folder a class with so many images, each different, also from those of other roots."""
    for class_index, (name, n) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(n):
            seed = sum(root.name.encode()) * 10_000 + 1000 * class_index + number
            write_image(root / name / f"{number}.png", seed=seed)
    return root
