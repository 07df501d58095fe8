"""Extraction, against `model.predict` on images that Keras itself resized and preprocessed."""

import hashlib
import io
import logging
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import ArrayImages, EncodedImages, Images
from benchmark.datasets.images import decode_file
from benchmark.errors import FeaturesError
from benchmark.features import engine
from benchmark.features.engine import Extraction, extract_features
from benchmark.features.graph import FrozenNetwork, set_precision, use_depthwise_convolutions
from benchmark.preprocessing import RESIZERS, View

pytestmark = pytest.mark.slow

SIZE_PX = 32
AS_THEY_ARE = View(SIZE_PX, "bilinear", "squash", ("raw",))


def tiny_network(**first_layer: Any) -> Any:
    """Convolution, BatchNorm with statistics of its own, and a depthwise convolution; 12 features."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    x = layers.Conv2D(12, 3, strides=2, padding="same", **first_layer)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3)(x)
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    rng = np.random.default_rng(1)
    norm = next(layer for layer in network.layers if isinstance(layer, layers.BatchNormalization))
    norm.set_weights([rng.uniform(0.5, 2, 12) for _ in range(4)])
    return network


@pytest.fixture(scope="module")
def network() -> Any:
    return tiny_network()


@pytest.fixture(scope="module")
def frozen(network) -> FrozenNetwork:
    return FrozenNetwork(network, SIZE_PX)


@pytest.fixture(scope="module")
def mobilenet() -> tuple[Any, FrozenNetwork]:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3), pooling="avg"
    )
    return model, FrozenNetwork(model, SIZE_PX)


@pytest.fixture
def pixels(rng) -> np.ndarray:
    """Twenty RGB images of 40x52 pixels."""
    return rng.integers(0, 256, (20, 40, 52, 3), dtype=np.uint8)


def extract(
    frozen: FrozenNetwork, images: Images, view: View = AS_THEY_ARE, **options: Any
) -> tuple[np.ndarray, Extraction]:
    file = io.BytesIO()
    extraction = extract_features(frozen, images, view, file, **options)
    file.seek(0)
    return np.load(file), extraction


def relative_error(features: np.ndarray, expected: np.ndarray) -> float:
    assert features.shape == expected.shape
    return float(np.abs(features - expected).max() / np.abs(expected).max())


def resized_by_keras(pixels: np.ndarray, view: View) -> np.ndarray:
    import keras

    size = (SIZE_PX, SIZE_PX)
    if view.crop == "crop":
        return np.stack(
            [keras.preprocessing.image.smart_resize(image, size, interpolation=view.resize) for image in pixels]
        )
    interpolation, antialias = RESIZERS[view.resize]
    resized = keras.ops.image.resize(pixels.astype(np.float32), size, interpolation=interpolation, antialias=antialias)
    return np.asarray(resized)


def preprocessed_by_keras(images: np.ndarray, steps: tuple[str, ...]) -> np.ndarray:
    from keras.applications.imagenet_utils import preprocess_input

    images = images.copy()
    for step in steps:
        if step == "unit":
            images = images / 255
        elif step != "raw":
            images = preprocess_input(images.copy(), mode=step)
    return images


VIEWS = [
    View(SIZE_PX, "bilinear", "squash", ("raw",)),
    View(SIZE_PX, "bilinear", "crop", ("unit",)),
    View(SIZE_PX, "bilinear-antialias", "squash", ("tf",)),
    View(SIZE_PX, "bicubic", "crop", ("caffe",)),
    View(SIZE_PX, "bicubic", "squash", ("torch",)),
    View(SIZE_PX, "nearest", "squash", ("unit", "caffe")),
    View(SIZE_PX, "nearest", "crop", ("unit", "torch")),
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_features_equal_kerass_own_prediction(view, network, frozen, pixels):
    features, _ = extract(frozen, ArrayImages(pixels), view)

    inputs = preprocessed_by_keras(resized_by_keras(pixels, view), view.steps)
    assert features.dtype == np.float32
    assert relative_error(features, network.predict(inputs, verbose=0)) < 1e-5


@pytest.mark.parametrize("view", [VIEWS[2], VIEWS[3]], ids=["tf squash", "caffe crop"])
def test_features_of_mobilenet_equal_kerass_own_prediction(view, mobilenet, pixels):
    model, frozen_mobilenet = mobilenet

    features, _ = extract(frozen_mobilenet, ArrayImages(pixels), view)

    inputs = preprocessed_by_keras(resized_by_keras(pixels, view), view.steps)
    assert features.shape == (20, 1280)
    assert relative_error(features, model.predict(inputs, verbose=0)) < 1e-5


def test_a_frozen_network_knows_its_size(mobilenet):
    model, frozen_mobilenet = mobilenet

    assert frozen_mobilenet.params == model.count_params()
    assert frozen_mobilenet.feature_dim == 1280


def test_a_multiply_add_counts_as_two_operations():
    import keras

    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    convolution = FrozenNetwork(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)), SIZE_PX)

    flops_g = convolution.flops_g()

    assert flops_g == pytest.approx(2 * SIZE_PX**2 * 3 * 3 * 3 * 16 / 1e9, rel=0.05)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
def test_the_order_is_kept_whatever_the_number_of_images(n, network, frozen, rng):
    pixels = rng.integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)

    features, extraction = extract(frozen, ArrayImages(pixels), batch_size=16)

    assert relative_error(features, network.predict(pixels.astype(np.float32), verbose=0)) < 1e-5
    assert (extraction.n_images, extraction.feature_dim, extraction.batch_size) == (n, 12, 16)


def test_two_passes_give_the_same_bits(frozen, pixels):
    first, second = (extract(frozen, ArrayImages(pixels), VIEWS[2])[0] for _ in range(2))

    assert first.tobytes() == second.tobytes()


def test_grey_images_are_repeated_to_three_channels(frozen, rng):
    grey = rng.integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)

    features, _ = extract(frozen, ArrayImages(grey), VIEWS[3])

    in_three_channels, _ = extract(frozen, ArrayImages(grey.repeat(3, axis=3)), VIEWS[3])
    assert relative_error(features, in_three_channels) < 1e-6


def test_the_callers_images_are_not_changed(frozen, pixels):
    before = pixels.copy()

    extract(frozen, ArrayImages(pixels), VIEWS[3])

    assert np.array_equal(pixels, before)


def write_files(folder: Path, pixels: list[np.ndarray]) -> EncodedImages:
    paths = [folder / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return EncodedImages(tuple(paths), decode_file)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_files_give_the_features_of_their_pixels(view, frozen, pixels, tmp_path):
    files = write_files(tmp_path, list(pixels))

    features, _ = extract(frozen, files, view, batch_size=8)

    assert relative_error(features, extract(frozen, ArrayImages(pixels), view)[0]) < 1e-5


def test_files_of_different_sizes_are_extracted_in_order(network, frozen, rng, tmp_path):
    images = [rng.integers(0, 256, (20 + 3 * n, 70 - 2 * n, 3), dtype=np.uint8) for n in range(21)]
    view = View(SIZE_PX, "bilinear", "crop", ("tf",))

    features, _ = extract(frozen, write_files(tmp_path, images), view, batch_size=8)

    inputs = np.concatenate(
        [preprocessed_by_keras(resized_by_keras(image[np.newaxis], view), ("tf",)) for image in images]
    )
    assert relative_error(features, network.predict(inputs, verbose=0)) < 1e-5


def test_the_checksum_is_of_the_file(frozen, pixels, tmp_path):
    path = tmp_path / "features.npy"
    with path.open("wb") as file:
        extraction = extract_features(frozen, ArrayImages(pixels), AS_THEY_ARE, file)

    assert extraction.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.load(path, mmap_mode="r").shape == (20, 12)


@pytest.mark.parametrize("n", [1, 16, 40])
def test_the_progress_counts_every_image(n, frozen, rng):
    calls = []
    images = ArrayImages(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8))

    extract(frozen, images, batch_size=16, on_progress=lambda n_done, n_all: calls.append((n_done, n_all)))

    assert calls == [(min(n_done, n), n) for n_done in range(16, n + 16, 16)]


# Out of memory, damaged weights and timing: a batch function in the place of a network.

FAKE = SimpleNamespace(feature_dim=2, output_shape=(2,))


def fake_features(n: int) -> np.ndarray:
    return np.stack([np.arange(n), -np.arange(n)], axis=1).astype(np.float32)


def use_batch_function(monkeypatch: pytest.MonkeyPatch, compute: engine.BatchFunction) -> None:
    monkeypatch.setattr(engine, "batch_function", lambda *_: compute)


def extract_fake(n: int, batch_size: int = 16) -> tuple[np.ndarray, Extraction]:
    return extract(FAKE, ArrayImages(np.zeros((n, 1, 1, 1), np.uint8)), batch_size=batch_size)


def out_of_memory() -> Exception:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")


@pytest.mark.parametrize("error", [out_of_memory, MemoryError], ids=["device", "host"])
@pytest.mark.parametrize(("n", "fits"), [(50, 5), (16, 1), (3, 2), (64, 8), (1, 1)])
def test_the_batch_is_halved_until_it_fits_and_no_image_is_lost_or_doubled(n, fits, error, monkeypatch, caplog):
    def compute(batch: slice) -> np.ndarray:
        if batch.stop - batch.start > fits:
            raise error()
        return fake_features(n)[batch]

    use_batch_function(monkeypatch, compute)

    with caplog.at_level(logging.WARNING):
        features, extraction = extract_fake(n)

    assert np.array_equal(features, fake_features(n))
    expected_size = next(size for size in (16, 8, 4, 2, 1) if min(size, n) <= fits)
    assert extraction.batch_size == expected_size
    assert len(caplog.records) == {16: 0, 8: 1, 4: 2, 2: 3, 1: 4}[expected_size]


@pytest.mark.parametrize("first_too_large", [16, 17, 40, 95])
def test_memory_that_runs_out_in_the_middle_loses_nothing(first_too_large, monkeypatch):
    def compute(batch: slice) -> np.ndarray:
        if batch.stop > first_too_large and batch.stop - batch.start > 4:
            raise out_of_memory()
        time.sleep(0.002 * (batch.start % 3))  # batches in flight end in any order
        return fake_features(100)[batch]

    use_batch_function(monkeypatch, compute)

    features, extraction = extract_fake(100)

    assert np.array_equal(features, fake_features(100))
    assert extraction.batch_size == 4


def test_memory_that_does_not_suffice_for_one_image_is_an_error(monkeypatch):
    def compute(batch: slice) -> np.ndarray:
        raise out_of_memory()

    use_batch_function(monkeypatch, compute)

    with pytest.raises(type(out_of_memory()), match="OOM when allocating"):
        extract_fake(20)


def test_the_rate_leaves_the_first_batch_out(monkeypatch):
    def compute(batch: slice) -> np.ndarray:
        time.sleep(0.5 if batch.start == 0 else 0.01)
        return fake_features(64)[batch]

    use_batch_function(monkeypatch, compute)

    _, extraction = extract_fake(64)

    steady_s = extraction.extract_s - extraction.first_batch_s
    assert extraction.first_batch_s >= 0.5
    assert extraction.images_per_s == pytest.approx((64 - 16) / steady_s, rel=1e-6)


def test_the_rate_after_halving_leaves_out_as_many_images_as_the_first_batch_had(monkeypatch):
    def compute(batch: slice) -> np.ndarray:
        if batch.start > 0 and batch.stop - batch.start > 4:
            raise out_of_memory()
        time.sleep(0.01)
        return fake_features(64)[batch]

    use_batch_function(monkeypatch, compute)

    _, extraction = extract_fake(64)

    steady_s = extraction.extract_s - extraction.first_batch_s
    assert extraction.batch_size == 4
    assert extraction.images_per_s == pytest.approx((64 - 16) / steady_s, rel=1e-6)


def test_features_that_are_not_finite_are_an_error_that_names_the_image(monkeypatch):
    def compute(batch: slice) -> np.ndarray:
        features = fake_features(50)
        features[37, 1] = np.inf
        return features[batch]

    use_batch_function(monkeypatch, compute)

    with pytest.raises(
        FeaturesError, match=r"image 37 \(32px bilinear squash raw\) are not finite numbers: the weights"
    ):
        extract_fake(50)


def test_damaged_weights_are_an_error(pixels):
    damaged = tiny_network()
    # Above the ReLU, which on some processors turns NaN into zero.
    (depthwise,) = (layer for layer in damaged.layers if type(layer).__name__ == "DepthwiseConv2D")
    depthwise.kernel.assign(np.full(depthwise.kernel.shape, np.nan))

    with pytest.raises(
        FeaturesError, match=r"features of image 0 \(32px bilinear squash unit>tf\) are not finite numbers"
    ):
        extract(
            FrozenNetwork(damaged, SIZE_PX), ArrayImages(pixels), View(SIZE_PX, "bilinear", "squash", ("unit", "tf"))
        )


class Sink:
    """A file that forgets what is written to it."""

    def write(self, content: bytes) -> int:
        return len(content)


def test_memory_does_not_grow_with_the_number_of_images():
    import keras

    inputs = keras.Input((8, 8, 3))
    wide = FrozenNetwork(keras.Model(inputs, keras.layers.Dense(1024)(keras.layers.Flatten()(inputs))), 8)
    pixels = np.zeros((24_000, 8, 8, 1), np.uint8)
    view = replace(AS_THEY_ARE, size_px=8)
    features_mib = len(pixels) * 1024 * 4 / 2**20

    few = extract_features(wide, ArrayImages(pixels[:1000]), view, Sink())
    many = extract_features(wide, ArrayImages(pixels), view, Sink())

    assert features_mib > 90
    assert many.peak_rss_mib < few.peak_rss_mib + 40


# The graph.


def grouped_network(*, groups: int, filters: int, **options: Any) -> Any:
    """Like ConvNeXt: normalised inputs, a stem of 8 channels, a grouped convolution, LayerNorm."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    inputs = keras.Input((16, 16, 3))
    x = layers.Normalization(mean=[120.0, 115.0, 100.0], variance=[3400.0, 3300.0, 3400.0])(inputs)
    x = layers.Normalization()(x)
    x = layers.Conv2D(8, 2, strides=2)(x)
    x = layers.Conv2D(filters, 3, groups=groups, name="grouped", bias_initializer="uniform", **options)(x)
    x = layers.LayerNormalization()(x)
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Activation("gelu")(x)))
    network.layers[2].set_weights(
        [np.array([0.1, 0.2, 0.3]), np.array([0.5, 1.5, 2.5]), *network.layers[2].get_weights()[2:]]
    )
    network.layers[2].finalize_state()
    return network


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "valid", "strides": 2},
        {"padding": "same", "dilation_rate": 2},
        {"use_bias": False, "activation": "relu"},
    ],
    ids=str,
)
def test_depthwise_layers_written_as_groups_are_rewritten_with_equal_features(options, rng):
    import keras
    import tensorflow as tf

    grouped = grouped_network(groups=8, filters=8, **options)
    images = rng.uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    expected = grouped.predict(images, verbose=0)

    rewritten = use_depthwise_convolutions(grouped)

    assert type(rewritten.get_layer("grouped")) is keras.layers.DepthwiseConv2D
    assert type(grouped.get_layer("grouped")) is keras.layers.Conv2D, "the caller's network was changed"
    assert rewritten.count_params() == grouped.count_params()
    assert relative_error(rewritten.predict(images, verbose=0), expected) < 1e-5
    assert relative_error(np.asarray(FrozenNetwork(grouped, 16).features(tf.constant(images))), expected) < 1e-5


@pytest.mark.parametrize(("groups", "filters"), [(1, 8), (2, 8), (4, 16), (8, 16)])
def test_other_convolutions_are_left_as_they_are(groups, filters):
    network = grouped_network(groups=groups, filters=filters)

    assert use_depthwise_convolutions(network) is network


def test_bfloat16_is_close_and_ends_when_float32_is_set_again(network, pixels):
    exact, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])
    try:
        set_precision("bfloat16")
        rounded, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])
    finally:
        set_precision("float32")
    again, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])

    assert rounded.dtype == np.float32
    assert relative_error(rounded, exact) < 0.03
    assert relative_error(again, exact) < 1e-6
