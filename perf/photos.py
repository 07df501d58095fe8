"""A first run on a folder of photos in many modes, beside Keras's own loader and `predict`, and beside PyTorch.

Photos of 12 megapixels, as phones make them, and small ones, as datasets have them, made from scikit-learn's two
sample photos. Everything runs in one go, each contestant in a process of its own, in turn; ours with an empty cache.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Figures, Target, in_fresh_process, markdown_table, run_script, say, script_options
from PIL import Image

from benchmark.datasets import Dataset, decoding, load_dataset, scan
from benchmark.preprocessing import View, apply_steps, resolve_mode
from benchmark.registry import get_backbone, load_registry
from benchmark.storage import CACHE_VARIABLE

SIZE_PX = 224
MODES = ("native", "unit", "raw", "caffe", "torch", "double")
KINDS = {"12 megapixels": ((4000, 3000), 200), "500 x 375": ((500, 375), 1000)}
OVER_KERAS = {"12 megapixels": 15.0, "500 x 375": 3.0}
QUICK_KINDS = {"12 megapixels": ((4000, 3000), 8), "500 x 375": ((500, 375), 24)}
MOST_CPU_MS = 25.0


def write_photos(folder: Path, size: tuple[int, int], n: int) -> None:
    """`n` JPEG files of two classes, parts of two photographs, each a little different."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        whole = Image.fromarray(pixels)
        for number in range(n // 2):
            left, top = rng.uniform(0, 0.2, 2) * whole.size
            part = whole.resize(
                size, Image.Resampling.BICUBIC, (left, top, *(0.8 * np.array(whole.size) + (left, top)))
            )
            part.save(folder / name / f"{number}.jpg", quality=92)


def by_keras(folder: Path, modes: tuple[str, ...]) -> float:
    """Seconds of Keras's loader and `predict`, one pass per mode, as tutorials do it; TensorFlow is loaded already."""
    import keras

    started = time.perf_counter()
    network = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(SIZE_PX, SIZE_PX, 3)
    )
    for mode in modes:
        batches = keras.utils.image_dataset_from_directory(
            folder, image_size=(SIZE_PX, SIZE_PX), shuffle=False, verbose=False
        )
        steps = resolve_mode(mode, "tf")
        network.predict(batches.map(lambda images, _, steps=steps: apply_steps(steps, images)), verbose=0)
    return time.perf_counter() - started


def by_torch(folder: Path, modes: tuple[str, ...]) -> float:
    """Seconds of a plain PyTorch `DataLoader` and the same network of timm, one pass per mode.

    Raises:
        ImportError: timm or torchvision is not installed.
    """
    import timm
    import torch
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    started = time.perf_counter()
    network = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0).eval()
    network = network.to(memory_format=torch.channels_last)
    for _ in modes:
        to_tensor = transforms.Compose([transforms.Resize((SIZE_PX, SIZE_PX)), transforms.ToTensor()])
        loader = torch.utils.data.DataLoader(ImageFolder(folder, to_tensor), batch_size=32, num_workers=os.cpu_count())
        with torch.inference_mode():
            for images, _ in loader:
                network(images.to(memory_format=torch.channels_last))
    return time.perf_counter() - started


def by_us(folder: Path, modes: tuple[str, ...]) -> dict[str, float]:
    """Seconds of our extraction in these modes from an empty cache, and of a second backbone's after it.

    The scan, the hashes and the checks of the files are counted; TensorFlow is loaded already.
    """
    views = [View(SIZE_PX, "bilinear-antialias", "squash", resolve_mode(mode, "tf")) for mode in modes]
    decode, n_decoded = decoding.decode, 0

    def counted(*arguments: Any) -> Any:
        nonlocal n_decoded
        n_decoded += 1
        return decode(*arguments)

    scan.decode = decoding.decode = counted
    with tempfile.TemporaryDirectory() as cache:
        os.environ[CACHE_VARIABLE] = cache
        started, cpu_before = time.perf_counter(), time.process_time()
        dataset = load_dataset(f"folder:{folder}", views=[views[0].before_mode])
        decoded, decode_cpu_s = time.perf_counter(), time.process_time() - cpu_before
        _extract(dataset, views, "MobileNetV2")
        ended, n_first = time.perf_counter(), n_decoded
        _extract(dataset, views[:1], "MobileNet")
    return {
        "s": ended - started,
        "decode_s": decoded - started,
        "decode_cpu_ms": 1000 * decode_cpu_s / len(dataset),
        "decodes_per_image": n_first / len(dataset),
        "decodes_of_the_second_backbone": n_decoded - n_first,
    }


def _extract(dataset: Dataset, views: Sequence[View], application: str) -> None:
    from benchmark.backbones.build import build_backbone
    from benchmark.features.engine import extract_features
    from benchmark.features.engines import AUTO, CompiledNetwork, choose_engine
    from benchmark.features.graph import FrozenNetwork

    backbone = get_backbone(load_registry(), application).model_copy(update={"weights": "random"})
    frozen = FrozenNetwork(build_backbone(backbone, SIZE_PX), SIZE_PX)
    network = CompiledNetwork(choose_engine(AUTO, backbone.usual_engine, has_gpu=False), frozen, 3, "float32")
    for view in views:
        with tempfile.TemporaryFile() as file:
            extract_features(network.extractor(view.steps), dataset.images.source(view), len(dataset), file)


def warm(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns after the libraries were loaded."""
    import tensorflow as tf

    tf.constant(0)
    return function(*arguments)


def measure_photos(options: argparse.Namespace) -> Figures:
    """Everything on both kinds of photos."""
    results: dict[str, dict[str, Any]] = {}
    for kind, (size, n) in (QUICK_KINDS if options.quick else KINDS).items():
        with tempfile.TemporaryDirectory() as folder:
            say(f"writing {n} photos of {kind}")
            write_photos(Path(folder), size, n)
            results[kind] = {"n": n, **_race(Path(folder))}
    targets = [
        Target(f"{kind}, ours over Keras", found["keras_s"] / found["s"], OVER_KERAS[kind])
        for kind, found in results.items()
    ]
    large = results["12 megapixels"]
    targets.append(
        Target(
            "CPU milliseconds of decoding, hashing and resizing a large photo",
            large["decode_cpu_ms"],
            at_most=MOST_CPU_MS,
        )
    )
    targets += [
        Target(f"{kind}, images decoded for the second backbone", found["decodes_of_the_second_backbone"], at_most=0)
        for kind, found in results.items()
    ]
    title = "Photos: a first run in many modes"
    return Figures("photos", title, _text(results), {"kinds": results}, tuple(targets))


def _race(folder: Path) -> dict[str, Any]:
    say("  ours")
    ours = in_fresh_process(warm, by_us, folder, MODES)
    say(f"  {ours}")
    found = {**ours, "one_mode_s": in_fresh_process(warm, by_us, folder, MODES[:1])["s"]}
    say("  Keras")
    found["keras_s"] = in_fresh_process(warm, by_keras, folder, MODES)
    try:
        found["torch_s"] = in_fresh_process(by_torch, folder, MODES)
    except ImportError as error:
        say(f"  PyTorch is left out: {error}")
    return found


def _text(results: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            f"{found['n']:,} of {kind}",
            f"{found['s']:.1f}",
            f"{found['decode_s']:.1f}",
            f"{found['one_mode_s']:.1f}",
            f"{found['keras_s']:.1f}",
            f"{found['torch_s']:.1f}" if "torch_s" in found else "–",
            f"{found['keras_s'] / found['s']:.1f}",
        ]
        for kind, found in results.items()
    ]
    header = ["photos", "ours, s", "of it decoding, s", "ours, one mode, s", "Keras, s", "PyTorch, s", "Keras / ours"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"MobileNetV2 at {SIZE_PX} px in {len(MODES)} modes ({', '.join(MODES)}). Ours starts with an empty cache and "
        "scans, hashes, checks and decodes each file once, then builds the network and extracts. Keras is "
        "`image_dataset_from_directory` and `predict`, one pass per mode; PyTorch a plain `DataLoader` and timm's "
        "network, one pass per mode. Loading the libraries is not counted."
    )


def main() -> int:
    return run_script(measure_photos, script_options(__doc__).parse_args())


if __name__ == "__main__":
    sys.exit(main())
