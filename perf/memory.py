"""Peak memory of extracting many images beside that of extracting a tenth of them, each in a new process."""

import argparse
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import numpy as np
from measuring import Figures, Target, in_fresh_process, markdown_table, run_script, say, script_options

from benchmark.datasets import ArrayImages, Dataset, load_dataset
from benchmark.features.engine import Extraction, extract_features
from benchmark.preprocessing import View, resolve_mode
from benchmark.registry import get_backbone, load_registry

BACKBONE, DATASET = "MobileNetV2-dogs", "fashion_mnist"
SHARE = 10
MOST_MIB = 300.0


def extract_first_images(n_images: int, size_px: int) -> Extraction:
    """What it costs this process to extract the first training images into a temporary file."""
    from benchmark.backbones.build import build_backbone
    from benchmark.features.engines import TENSORFLOW, CompiledNetwork
    from benchmark.features.graph import FrozenNetwork

    backbone = get_backbone(load_registry(), BACKBONE)
    frozen = FrozenNetwork(build_backbone(backbone, size_px), size_px)
    images = _first_training_images(load_dataset(DATASET), n_images)
    view = View(size_px, "bilinear", "squash", resolve_mode("native", backbone.native_mode))
    extractor = CompiledNetwork(TENSORFLOW, frozen, images.n_channels, "float32").extractor(view.steps)
    with tempfile.TemporaryFile() as file:
        return extract_features(extractor, images.source(view), len(images), file)


def _first_training_images(dataset: Dataset, n_images: int) -> ArrayImages:
    """A copy of `n_images` images, so that the memory of the others is freed."""
    train = np.delete(np.arange(len(dataset)), dataset.test)
    return ArrayImages(dataset.images.read(train[:n_images]))


def measure_memory(options: argparse.Namespace) -> Figures:
    """The peaks of both extractions and their difference."""
    extractions = []
    for n_images in (options.images // SHARE, options.images):
        say(f"extracting {n_images:,} images")
        extractions.append(in_fresh_process(extract_first_images, n_images, options.input_size))
    few, many = extractions
    what = f"MiB that extracting {many.n_images:,} images takes beyond extracting {few.n_images:,}"
    targets = (Target(what, many.peak_rss_mib - few.peak_rss_mib, at_most=MOST_MIB),)
    numbers: dict[str, Any] = {
        "backbone": BACKBONE,
        "size_px": options.input_size,
        "extractions": [asdict(extraction) for extraction in extractions],
    }
    return Figures("memory", "Peak memory of extraction", _text(extractions, options), numbers, targets)


def _text(extractions: list[Extraction], options: argparse.Namespace) -> str:
    rows = [
        [f"{one.n_images:,}", f"{one.peak_rss_mib:,.0f}", f"{one.extract_s:.1f}", f"{one.images_per_s:.0f}"]
        for one in extractions
    ]
    return (
        f"{markdown_table(['images', 'peak, MiB', 's', 'images/s'], rows)}\n\n"
        f"Images of {DATASET} through {BACKBONE} at {options.input_size} px, each row in a process of its own. "
        "The peak is its highest resident memory while it extracts; it holds TensorFlow, the network and the images "
        "themselves, which this dataset keeps in memory."
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--images", type=int, help="the larger number; 60000, all training images, if absent")
    parser.add_argument("--input-size", type=int, help="side of the network's input in px; 96 if absent")
    options = parser.parse_args()
    options.images = options.images or (1000 if options.quick else 60_000)
    options.input_size = options.input_size or (32 if options.quick else 96)
    return run_script(measure_memory, options)


if __name__ == "__main__":
    sys.exit(main())
