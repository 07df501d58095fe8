"""Images a second on a GPU: batches of one size and of the size that is found, in each precision; run it on yours.

Without a GPU the same code runs on the processor, which shows that it works and nothing more.
"""

import argparse
import sys
import tempfile
from typing import Any

import numpy as np
from measuring import Figures, Target, markdown_table, run_script, say, script_options

from benchmark.datasets import array_source
from benchmark.preprocessing import resolve_mode
from benchmark.registry import get_backbone, load_registry

MODELS = ("MobileNetV2", "ResNet50", "EfficientNetV2B0", "ConvNeXtTiny")
PRECISIONS = ("float32", "bfloat16")
N_IMAGES, QUICK_IMAGES = 8192, 64
LEAST_GAIN = 1.0


def measure_model(name: str, n_images: int) -> list[dict[str, Any]]:
    """The rates of one network."""
    from benchmark.backbones.build import build_backbone
    from benchmark.features.engine import extract_features
    from benchmark.features.engines import TENSORFLOW, CompiledNetwork
    from benchmark.features.extractor import BATCH_SIZE, has_gpu
    from benchmark.features.graph import FrozenNetwork, keras_precision

    backbone = get_backbone(load_registry(), name).with_random_weights()
    size_px = backbone.input_size_px
    image = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    source = array_source(np.broadcast_to(image, (n_images, *image.shape)))
    rows = []
    for precision in (*PRECISIONS, "float16") if has_gpu() else PRECISIONS:
        with keras_precision(precision, has_gpu=has_gpu()):
            frozen = FrozenNetwork(build_backbone(backbone, size_px), size_px)
        network = CompiledNetwork(TENSORFLOW, frozen, 3, precision)
        for batch_size in (BATCH_SIZE, None):
            with tempfile.TemporaryFile() as file:
                extractor = network.extractor(resolve_mode("native", backbone.native_mode))
                found = extract_features(extractor, source, n_images, file, batch_size=batch_size)
            rows.append(
                {
                    "backbone": name,
                    "precision": precision,
                    "is_found": batch_size is None,
                    "batch_size": found.batch_size,
                    "images_per_s": found.images_per_s,
                    "peak_device_mib": found.peak_device_mib,
                }
            )
            say(f"  {rows[-1]}")
    return rows


def measure_gpu(options: argparse.Namespace) -> Figures:
    """The rates of all networks."""
    rows: list[dict[str, Any]] = []
    for name in MODELS[:1] if options.quick else MODELS:
        say(name)
        rows += measure_model(name, QUICK_IMAGES if options.quick else N_IMAGES)
    targets = tuple(
        Target(
            f"{found['backbone']} {found['precision']}, batch found over batch {fixed['batch_size']}",
            found["images_per_s"] / fixed["images_per_s"],
            LEAST_GAIN,
        )
        for fixed, found in zip(rows[::2], rows[1::2], strict=True)
    )
    cells = [
        [
            row["backbone"],
            row["precision"],
            f"{row['batch_size']}{' (found)' if row['is_found'] else ''}",
            f"{row['images_per_s']:.0f}",
            f"{row['peak_device_mib']:.0f}" if row["peak_device_mib"] else "–",
        ]
        for row in rows
    ]
    text = markdown_table(["backbone", "precision", "batch", "images/s", "peak of the GPU, MiB"], cells)
    return Figures("gpu", "Extraction on a GPU", text, {"rows": rows}, targets)


def main() -> int:
    return run_script(measure_gpu, script_options(__doc__).parse_args())


if __name__ == "__main__":
    sys.exit(main())
