"""How much the fast decoding of large JPEG photos changes: pixels, features, and the accuracy of a probe.

Where a view shrinks with antialias, libjpeg decodes at 1/2, 1/4 or 1/8 of the size, to at least twice what is needed.
Here the same files are also decoded in full. Photos are made from scikit-learn's two sample photos; the images that are
classified are those of the npm package emoji-datasource-google in its nine groups, enlarged to JPEG files.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
from measuring import Figures, Target, markdown_table, run_script, say, script_options
from numpy.typing import NDArray
from photos import write_photos
from PIL import Image

from benchmark.backbones.build import build_backbone
from benchmark.datasets import Dataset, array_source, decoding, load_dataset, split_dataset
from benchmark.features.engine import extract_features
from benchmark.features.engines import TENSORFLOW, CompiledNetwork
from benchmark.features.graph import FrozenNetwork
from benchmark.metrics import accuracy
from benchmark.options import DenseOptions
from benchmark.preprocessing import View, resolve_mode
from benchmark.registry import get_backbone, load_registry
from benchmark.strategies.heads import HEADS
from benchmark.strategies.outcome import HeadData

BACKBONE, SIZES_PX = "MobileNetV2-dogs", (96, 160)
SEEDS = (0, 1, 2)
VAL_FRACTION = 0.1
PHOTO_SIZE, N_PHOTOS = (4000, 3000), 20
EMOJI_PX = 1024
SKIN_TONES = "Component"  # a handful of squares, in none of the nine groups
MOST_ACCURACY_CHANGED = 0.005
FULL = 10**6  # times the size that is needed: never reached


class Difference(NamedTuple):
    """What fast decoding changes.

    Attributes:
        images: Which images.
        size_px: Side that they are resized to.
        mean_pixel: Mean absolute difference of pixels, in 0..255.
        features: Mean over the images of the norm of the difference of features over their norm.
        accuracies: By seed, of the linear head on test images: fast and full; empty for photos.
    """

    images: str
    size_px: int
    mean_pixel: float
    features: float
    accuracies: list[tuple[float, float]]


def write_emoji(package: Path, folder: Path, n: int | None) -> None:
    """The emoji on white, at most `n` of a group, enlarged to JPEG files in a folder for each group."""
    entries = [
        one
        for one in json.loads((package / "emoji.json").read_text())
        if one["has_img_google"] and one["category"] != SKIN_TONES
    ]
    for entry in pd.DataFrame(entries).groupby("category").head(n or len(entries)).to_dict("records"):
        with Image.open(package / "img" / "google" / "64" / entry["image"]) as image:
            drawn = image.convert("RGBA")
        white = Image.new("RGBA", drawn.size, "white")
        large = (
            Image.alpha_composite(white, drawn).convert("RGB").resize((EMOJI_PX, EMOJI_PX), Image.Resampling.BICUBIC)
        )
        group = folder / entry["category"].replace(" ", "_")
        group.mkdir(parents=True, exist_ok=True)
        large.save(group / f"{entry['unified']}.jpg", quality=92)


def decoded(paths: list[Path], view: View, spare: int) -> NDArray[np.uint8]:
    """`(n, size, size, 3)`: the images of these files, decoded at no less than so many times the size needed."""
    with mock.patch.object(decoding, "SPARE", spare):
        return np.stack([decoding.decode_file(path, view) for path in paths])


def features_of(images: NDArray[np.uint8], size_px: int) -> NDArray[np.float32]:
    """`(n, d)` of the backbone."""
    backbone = get_backbone(load_registry(), BACKBONE)
    network = CompiledNetwork(TENSORFLOW, FrozenNetwork(build_backbone(backbone, size_px), size_px), 3, "float32")
    extractor = network.extractor(resolve_mode("native", backbone.native_mode))
    with tempfile.TemporaryFile() as file:
        extract_features(extractor, array_source(images), len(images), file)
        file.seek(0)
        return np.load(file)


def head_accuracy(features: NDArray[np.float32], dataset: Dataset, seed: int) -> float:
    """Of the linear head on the test images."""
    split = split_dataset(dataset, seed=seed, val_fraction=VAL_FRACTION)
    labels = dataset.labels
    data = HeadData(
        features[split.train], labels[split.train], features[split.val], labels[split.val], len(dataset.class_names)
    )
    scores = HEADS["linear"].fit(data, seed, DenseOptions()).scores(features[split.test])
    return accuracy(labels[split.test], scores.argmax(axis=1))


def difference(images: str, folder: Path, size_px: int, *, is_classified: bool) -> Difference:
    """What fast decoding changes of the files of a folder."""
    say(f"{images} at {size_px} px")
    view = View(size_px, "bilinear-antialias", "squash")
    dataset = load_dataset(f"folder:{folder}")
    paths = [Path(place) for place in dataset.images.places]
    fast, full = (decoded(paths, view, spare) for spare in (decoding.SPARE, FULL))
    fast_features, full_features = (features_of(pixels, size_px) for pixels in (fast, full))
    relative = np.linalg.norm(fast_features - full_features, axis=1) / np.linalg.norm(full_features, axis=1)
    accuracies = [
        (head_accuracy(fast_features, dataset, seed), head_accuracy(full_features, dataset, seed))
        for seed in (SEEDS if is_classified else ())
    ]
    mean_pixel = float(np.abs(fast.astype(np.int16) - full).mean())
    return Difference(images, size_px, mean_pixel, float(relative.mean()), accuracies)


def measure_decoding(options: argparse.Namespace) -> Figures:
    """The differences for photos and emoji."""
    with tempfile.TemporaryDirectory() as temporary:
        photos, emoji = Path(temporary, "photos"), Path(temporary, "emoji")
        write_photos(photos, PHOTO_SIZE, 12 if options.quick else N_PHOTOS)
        write_emoji(options.emoji, emoji, 20 if options.quick else None)
        found = [
            difference(name, folder, size_px, is_classified=is_classified)
            for name, folder, is_classified in (("photos", photos, False), ("emoji", emoji, True))
            for size_px in SIZES_PX
        ]
    targets = tuple(
        Target(
            f"{one.images} at {one.size_px} px, change of mean accuracy by fast decoding",
            abs(float(np.mean([fast - full for fast, full in one.accuracies]))),
            at_most=MOST_ACCURACY_CHANGED,
        )
        for one in found
        if one.accuracies
    )
    numbers = {"differences": [one._asdict() for one in found]}
    return Figures("decoding", "Fast decoding beside full decoding", _text(found), numbers, targets)


def _text(found: list[Difference]) -> str:
    header = ["images, px", "pixels (of 255)", "features", "accuracy fast, by seed", "accuracy full, by seed"]
    rows = [
        [
            f"{one.images}, {one.size_px}",
            f"{one.mean_pixel:.2f}",
            f"{one.features:.4f}",
            *(", ".join(f"{pair[side]:.4f}" for pair in one.accuracies) or "–" for side in (0, 1)),
        ]
        for one in found
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Mean absolute difference of pixels; mean relative difference of features of {BACKBONE}; test accuracy of the "
        f"head `linear`. Photos are JPEG files of {PHOTO_SIZE[0]} × {PHOTO_SIZE[1]} px, emoji of {EMOJI_PX} × "
        f"{EMOJI_PX}."
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--emoji", type=Path, required=True, help="folder of the unpacked npm package")
    options: Any = parser.parse_args()
    return run_script(measure_decoding, options)


if __name__ == "__main__":
    sys.exit(main())
