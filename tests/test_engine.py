"""Extraction, against `model.predict` on images that Keras itself resized and preprocessed."""

import hashlib
import io
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import ArrayImages, EncodedImages, Images, array_source
from benchmark.datasets.decoding import decode_file
from benchmark.datasets.resizing import resize
from benchmark.errors import BenchmarkError, FeaturesError
from benchmark.features import engine, engines, extractor
from benchmark.features.engine import Extraction, extract_features
from benchmark.features.engines import ENGINES, OPENVINO, TENSORFLOW, WITH_BFLOAT16, CompiledNetwork, choose_engine
from benchmark.features.extractor import Extractor, fastest_batch_size, measure_latency
from benchmark.features.graph import FrozenNetwork, keras_precision, use_depthwise_convolutions
from benchmark.features.openvino import EngineError
from benchmark.preprocessing import View
from benchmark.provenance import cpu_vectors

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
    frozen: FrozenNetwork, images: Images, view: View = AS_THEY_ARE, engine: str = TENSORFLOW, **options: Any
) -> tuple[np.ndarray, Extraction]:
    file = io.BytesIO()
    network = CompiledNetwork(engine, frozen, images.n_channels, options.pop("precision", "float32"))
    extractor = network.extractor(view.steps)
    extraction = extract_features(extractor, images.source(view), len(images), file, **options)
    file.seek(0)
    return np.load(file), extraction


def extractor_of(frozen: FrozenNetwork, view: View, n_channels: int) -> Extractor:
    return CompiledNetwork(TENSORFLOW, frozen, n_channels, "float32").extractor(view.steps)


def relative_error(features: np.ndarray, expected: np.ndarray) -> float:
    assert features.shape == expected.shape
    return float(np.abs(features - expected).max() / np.abs(expected).max())


def resized_to(pixels: np.ndarray, view: View) -> np.ndarray:
    """As `test_resizing.py` checks it, in float32."""
    return np.stack([resize(Image.fromarray(image), view) for image in pixels]).astype(np.float32)


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_features_equal_kerass_own_prediction(view, engine, network, frozen, pixels):
    features, _ = extract(frozen, ArrayImages(pixels), view, engine)

    inputs = preprocessed_by_keras(resized_to(pixels, view), view.steps)
    assert features.dtype == np.float32
    assert relative_error(features, network.predict(inputs, verbose=0)) < 1e-5


def test_weights_too_large_to_copy_stay_variables(monkeypatch: pytest.MonkeyPatch, network, pixels):
    monkeypatch.setattr("benchmark.features.graph.LARGEST_FROZEN_MIB", 0.0)
    frozen = FrozenNetwork(network, SIZE_PX)

    features, _ = extract(frozen, ArrayImages(pixels), VIEWS[0])

    assert "_frozen" not in vars(frozen)
    inputs = resized_to(pixels, VIEWS[0])
    assert relative_error(features, network.predict(inputs, verbose=0)) < 1e-5


@pytest.mark.parametrize("view", [VIEWS[2], VIEWS[3]], ids=["tf squash", "caffe crop"])
@pytest.mark.parametrize("engine", ENGINES)
def test_features_of_mobilenet_equal_kerass_own_prediction(view, engine, mobilenet, pixels):
    model, frozen_mobilenet = mobilenet

    features, _ = extract(frozen_mobilenet, ArrayImages(pixels), view, engine)

    inputs = preprocessed_by_keras(resized_to(pixels, view), view.steps)
    assert features.shape == (20, 1280)
    assert relative_error(features, model.predict(inputs, verbose=0)) < 1e-5


def test_a_frozen_network_knows_its_size(mobilenet):
    model, frozen_mobilenet = mobilenet

    assert frozen_mobilenet.params == model.count_params()
    assert frozen_mobilenet.output_shape == (1280,)


def test_a_multiply_add_counts_as_two_operations():
    import keras

    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    convolution = FrozenNetwork(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)), SIZE_PX)

    flops_g = convolution.flops_g()

    assert flops_g == pytest.approx(2 * SIZE_PX**2 * 3 * 3 * 3 * 16 / 1e9, rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
def test_the_order_is_kept_whatever_the_number_of_images(n, engine, network, frozen, rng):
    pixels = rng.integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)

    features, extraction = extract(frozen, ArrayImages(pixels), engine=engine, batch_size=16)

    assert relative_error(features, network.predict(pixels.astype(np.float32), verbose=0)) < 1e-5
    assert (extraction.n_images, extraction.feature_dim, extraction.batch_size) == (n, 12, 16)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_passes_give_the_same_bits(engine, mobilenet, pixels):
    first, second = (extract(mobilenet[1], ArrayImages(pixels), VIEWS[2], engine)[0] for _ in range(2))

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
    ids = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return EncodedImages(str(folder), ids, tuple(paths), decode_file)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_files_give_the_features_of_their_pixels(view, frozen, pixels, tmp_path):
    files = write_files(tmp_path, list(pixels))

    features, _ = extract(frozen, files, view, batch_size=8)
    from_cache, _ = extract(frozen, files, view, batch_size=8)

    assert relative_error(features, extract(frozen, ArrayImages(pixels), view)[0]) < 1e-5
    assert from_cache.tobytes() == features.tobytes()


def test_files_of_different_sizes_are_extracted_in_order(network, frozen, rng, tmp_path):
    images = [rng.integers(0, 256, (20 + 3 * n, 70 - 2 * n, 3), dtype=np.uint8) for n in range(21)]
    view = View(SIZE_PX, "bilinear", "crop", ("tf",))

    features, _ = extract(frozen, write_files(tmp_path, images), view, batch_size=8)

    inputs = np.concatenate([preprocessed_by_keras(resized_to(image[np.newaxis], view), ("tf",)) for image in images])
    assert relative_error(features, network.predict(inputs, verbose=0)) < 1e-5


def test_the_checksum_is_of_the_file(frozen, pixels, tmp_path):
    path = tmp_path / "features.npy"
    with path.open("wb") as file:
        source = ArrayImages(pixels).source(AS_THEY_ARE)
        extraction = extract_features(extractor_of(frozen, AS_THEY_ARE, 3), source, len(pixels), file)

    assert extraction.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.load(path, mmap_mode="r").shape == (20, 12)


@pytest.mark.parametrize("n", [1, 16, 40])
def test_the_progress_counts_every_image(n, frozen, rng):
    calls = []
    images = ArrayImages(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8))

    extract(frozen, images, batch_size=16, on_progress=lambda n_done, n_all: calls.append((n_done, n_all)))

    assert calls == [(min(n_done, n), n) for n_done in range(16, n + 16, 16)]


# Interruptions, out of memory, damaged weights and timing: a function in the place of a network.


def fake_features(n: int) -> np.ndarray:
    return np.stack([np.arange(n), -np.arange(n)], axis=1).astype(np.float32)


Compute = Callable[[slice], np.ndarray]


def extract_fake(
    n: int, compute: Compute, file: IO[bytes] | None = None, **options: Any
) -> tuple[np.ndarray, Extraction]:
    """The features that `compute` gives for slices of `n` images."""
    file = file or io.BytesIO()
    # The images are their own numbers.
    extractor = Extractor(lambda numbers: compute(slice(numbers[0], numbers[-1] + 1)), (2,), n_in_flight=2)
    source = array_source(np.arange(n))
    extraction = extract_features(extractor, source, n, file, **options)
    file.seek(0)
    return np.load(file), extraction


def out_of_memory() -> Exception:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")


@pytest.mark.parametrize("error", [out_of_memory, MemoryError], ids=["device", "host"])
@pytest.mark.parametrize(("n", "fits"), [(50, 5), (16, 1), (3, 2), (64, 8), (1, 1)])
def test_the_batch_is_halved_until_it_fits_and_no_image_is_lost_or_doubled(n, fits, error, caplog):
    def compute(batch: slice) -> np.ndarray:
        if batch.stop - batch.start > fits:
            raise error()
        return fake_features(n)[batch]

    with caplog.at_level(logging.WARNING):
        features, extraction = extract_fake(n, compute)

    assert np.array_equal(features, fake_features(n))
    expected_size = next(size for size in (16, 8, 4, 2, 1) if min(size, n) <= fits)
    assert extraction.batch_size == expected_size
    assert len(caplog.records) == {16: 0, 8: 1, 4: 2, 2: 3, 1: 4}[expected_size]


@pytest.mark.parametrize("first_too_large", [16, 17, 40, 95])
def test_memory_that_runs_out_in_the_middle_loses_nothing(first_too_large):
    def compute(batch: slice) -> np.ndarray:
        if batch.stop > first_too_large and batch.stop - batch.start > 4:
            raise out_of_memory()
        time.sleep(0.002 * (batch.start % 3))  # batches in flight end in any order
        return fake_features(100)[batch]

    features, extraction = extract_fake(100, compute)

    assert np.array_equal(features, fake_features(100))
    assert extraction.batch_size == 4


def test_memory_that_does_not_suffice_for_one_image_is_an_error():
    def compute(batch: slice) -> np.ndarray:
        raise out_of_memory()

    with pytest.raises(type(out_of_memory()), match="OOM when allocating"):
        extract_fake(20, compute)


def test_the_rate_leaves_the_first_batch_out():
    def compute(batch: slice) -> np.ndarray:
        time.sleep(0.5 if batch.start == 0 else 0.01)
        return fake_features(64)[batch]

    _, extraction = extract_fake(64, compute)

    steady_s = extraction.extract_s - extraction.first_batch_s
    assert extraction.first_batch_s >= 0.5
    assert extraction.images_per_s == pytest.approx((64 - 16) / steady_s, rel=1e-6)


def test_the_rate_after_halving_leaves_out_as_many_images_as_the_first_batch_had():
    def compute(batch: slice) -> np.ndarray:
        if batch.start > 0 and batch.stop - batch.start > 4:
            raise out_of_memory()
        time.sleep(0.01)
        return fake_features(64)[batch]

    _, extraction = extract_fake(64, compute)

    steady_s = extraction.extract_s - extraction.first_batch_s
    assert extraction.batch_size == 4
    assert extraction.images_per_s == pytest.approx((64 - 16) / steady_s, rel=1e-6)


def test_features_that_are_not_finite_are_an_error_that_names_the_image():
    def compute(batch: slice) -> np.ndarray:
        features = fake_features(50)
        features[37, 1] = np.inf
        return features[batch]

    with pytest.raises(FeaturesError, match="the features of image 37 are not finite numbers: the weights"):
        extract_fake(50, compute)


def test_damaged_weights_are_an_error(pixels):
    damaged = tiny_network()
    # Above the ReLU, which on some processors turns NaN into zero.
    (depthwise,) = (layer for layer in damaged.layers if type(layer).__name__ == "DepthwiseConv2D")
    depthwise.kernel.assign(np.full(depthwise.kernel.shape, np.nan))

    with pytest.raises(FeaturesError, match="features of image 0 are not finite numbers"):
        extract(
            FrozenNetwork(damaged, SIZE_PX), ArrayImages(pixels), View(SIZE_PX, "bilinear", "squash", ("unit", "tf"))
        )


class Sink(io.BytesIO):
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

    source, extractor = array_source(pixels), extractor_of(wide, view, 1)

    few = extract_features(extractor, source, 1000, Sink())
    many = extract_features(extractor, source, len(pixels), Sink())

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


def test_bfloat16_is_refused_where_tensorflow_would_compute_in_float32_without_a_word(network, pixels, monkeypatch):
    monkeypatch.setattr(engines, "cpu_vectors", lambda: "AVX2")

    with pytest.raises(EngineError, match="no bfloat16: take --precision float32"):
        extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2], precision="bfloat16")


def test_bfloat16_is_close_and_ends_when_float32_is_set_again(network, pixels, monkeypatch):
    monkeypatch.setattr(engines, "WITHOUT_BFLOAT16", ())  # so that it runs on any processor
    exact, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])
    rounded, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2], precision="bfloat16")
    again, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])

    assert rounded.dtype == np.float32
    assert relative_error(rounded, exact) < 0.03
    assert relative_error(rounded, exact) > 0 or cpu_vectors() not in WITH_BFLOAT16
    assert relative_error(again, exact) < 1e-6


# Interruptions


class KilledError(Exception):
    """Ends a pass."""


@pytest.mark.parametrize("n_before", [16, 48, 96])
@pytest.mark.parametrize("n_torn_bytes", [0, 1, 200])
def test_an_interrupted_pass_goes_on_after_what_it_saved(n_before, n_torn_bytes, monkeypatch):
    monkeypatch.setattr(engine, "SAVE_INTERVAL_S", 0.0)
    file, saved, computed = io.BytesIO(), [], []

    def dying(batch: slice) -> np.ndarray:
        return fake_features(100)[batch]

    def save(extraction: Extraction) -> None:
        saved.append(extraction)
        if extraction.n_images == n_before:
            raise KilledError

    def recorded(batch: slice) -> np.ndarray:
        computed.append(batch.start)
        return fake_features(100)[batch]

    with pytest.raises(KilledError):
        extract_fake(100, dying, file, save=save)
    file.seek(0, io.SEEK_END)
    file.write(b"x" * n_torn_bytes)
    features, extraction = extract_fake(100, recorded, file, so_far=saved[-1])

    assert np.array_equal(features, fake_features(100))
    assert min(computed) == n_before
    assert extraction.n_images == 100
    assert extraction.sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    assert extraction.extract_s > saved[-1].extract_s
    assert saved[-1].peak_rss_mib > 10


def test_a_part_that_is_not_what_was_saved_is_computed_again(monkeypatch):
    monkeypatch.setattr(engine, "SAVE_INTERVAL_S", 0.0)
    file, saved = io.BytesIO(), []
    extract_fake(100, lambda batch: fake_features(100)[batch], file, save=saved.append)
    damaged = bytearray(file.getvalue())
    damaged[300] ^= 1

    features, _ = extract_fake(100, lambda batch: fake_features(100)[batch], io.BytesIO(damaged), so_far=saved[2])

    assert np.array_equal(features, fake_features(100))


# Engines


@pytest.mark.parametrize(
    ("asked", "usual", "has_gpu", "chosen"),
    [
        ("auto", "openvino", False, "openvino"),
        ("auto", "openvino", True, "tensorflow"),
        ("auto", "tensorflow", False, "tensorflow"),
        ("tensorflow", "openvino", False, "tensorflow"),
        ("openvino", "tensorflow", True, "openvino"),
    ],
)
def test_the_engine_is_chosen_by_a_rule(asked, usual, has_gpu, chosen):
    assert choose_engine(asked, usual, has_gpu=has_gpu) == chosen


def test_without_openvino_tensorflow_extracts_and_asking_for_it_is_an_error(monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda engine: engine == TENSORFLOW)

    assert choose_engine("auto", "openvino", has_gpu=False) == "tensorflow"
    with pytest.raises(BenchmarkError, match=r"pip install 'backbone-benchmark\[fast\]'"):
        choose_engine("openvino", "openvino", has_gpu=False)


def test_bfloat16_of_openvino_is_close_or_refused(mobilenet, pixels):
    exact, _ = extract(mobilenet[1], ArrayImages(pixels), VIEWS[2], OPENVINO)
    if cpu_vectors() not in WITH_BFLOAT16:
        with pytest.raises(EngineError, match="no bfloat16"):
            extract(mobilenet[1], ArrayImages(pixels), VIEWS[2], OPENVINO, precision="bfloat16")
        return

    rounded, _ = extract(mobilenet[1], ArrayImages(pixels), VIEWS[2], OPENVINO, precision="bfloat16")

    assert 0 < relative_error(rounded, exact) < 0.05


@pytest.mark.parametrize(("vectors", "chosen"), [("AMX", "openvino"), ("AVX2", "tensorflow")])
def test_bfloat16_is_left_to_tensorflow_where_the_processor_has_none(vectors, chosen, monkeypatch):
    monkeypatch.setattr(engines, "cpu_vectors", lambda: vectors)

    assert choose_engine("auto", "openvino", has_gpu=False, precision="bfloat16") == chosen


@pytest.mark.parametrize("batch_size", [32, 50])
def test_openvino_takes_larger_batches_than_its_graph(batch_size, frozen, rng):
    images = ArrayImages(rng.integers(0, 256, (60, SIZE_PX, SIZE_PX, 3), dtype=np.uint8))

    found, _ = extract(frozen, images, AS_THEY_ARE, OPENVINO, batch_size=batch_size)

    assert found.tobytes() == extract(frozen, images, AS_THEY_ARE, OPENVINO)[0].tobytes()


def test_an_operation_that_openvino_does_not_know_is_named_with_what_to_do(pixels):
    import keras
    import tensorflow as tf

    class Digamma(keras.layers.Layer):
        def call(self, x):
            return tf.math.digamma(x + 1)

    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    unknown = FrozenNetwork(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Digamma()(inputs))), SIZE_PX)

    with pytest.raises(EngineError, match=r"OpenVINO cannot run this network: .*--engine tensorflow"):
        extract(unknown, ArrayImages(pixels), AS_THEY_ARE, OPENVINO)


# Batch sizes and latency


@pytest.mark.parametrize(
    ("fits", "grows_to", "n", "expected"),
    [(10_000, 64, 1000, 64), (32, 10_000, 1000, 32), (10_000, 10_000, 100, 64), (10_000, 16, 1000, 16), (8, 8, 4, 16)],
)
def test_the_batch_is_doubled_while_that_is_faster_and_fits(fits, grows_to, n, expected, monkeypatch):
    """A batch takes as long as any other until `grows_to`, and in proportion to its size beyond."""
    clock = 0.0

    def compute(images: np.ndarray) -> np.ndarray:
        nonlocal clock
        if len(images) > fits:
            raise out_of_memory()
        clock += max(1.0, len(images) / grows_to)
        return np.zeros((len(images), 2), np.float32)

    monkeypatch.setattr(engine.time, "perf_counter", lambda: clock)

    assert fastest_batch_size(Extractor(compute, (2,), 1), array_source(np.arange(n)), n) == expected


def test_features_of_the_fastest_batch_are_those_of_any_other(frozen, rng, monkeypatch):
    monkeypatch.setattr(extractor, "LEAST_GAIN", 0.0)
    images = ArrayImages(rng.integers(0, 256, (100, SIZE_PX, SIZE_PX, 3), dtype=np.uint8))

    found, extraction = extract(frozen, images, batch_size=None)

    assert extraction.batch_size == 64
    assert relative_error(found, extract(frozen, images)[0]) < 1e-5


def test_the_latency_is_that_of_one_image(monkeypatch):
    clock, sizes = 0.0, []

    def compute(images: np.ndarray) -> np.ndarray:
        nonlocal clock
        sizes.append(len(images))
        clock += 0.010 if len(sizes) % 10 else 0.030
        return np.zeros((1, 2), np.float32)

    monkeypatch.setattr(engine.time, "perf_counter", lambda: clock)

    latency = measure_latency(Extractor(compute, (2,), 1), np.zeros((1, 4, 4, 3), np.uint8))

    assert set(sizes) == {1}
    assert latency.median_ms == pytest.approx(10)
    assert latency.p95_ms == pytest.approx(30)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_built_for_a_gpu_computes_in_its_precision(precision, pixels):
    """A processor computes so too, slowly."""
    import keras

    with keras_precision(precision, has_gpu=True):
        network = tiny_network()
    exact, _ = extract(FrozenNetwork(tiny_network(), SIZE_PX), ArrayImages(pixels), VIEWS[2])

    found, _ = extract(FrozenNetwork(network, SIZE_PX), ArrayImages(pixels), VIEWS[2])

    assert keras.config.dtype_policy().name == "float32"
    assert {str(variable.dtype) for variable in network.variables} == {"float32"}
    assert relative_error(found, exact) < {"float32": 1e-6, "bfloat16": 0.05, "float16": 0.01}[precision]
    assert precision == "float32" or relative_error(found, exact) > 0
