"""Registry records of every kind turned into Keras models."""

import hashlib
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmark import storage
from benchmark.backbones.build import build_backbone, weights_sha256
from benchmark.backbones.sources import local_path, weights_file, weights_identity
from benchmark.errors import BenchmarkError, ConfigError, DownloadError, FeaturesError, UnknownNameError, WeightsError
from benchmark.registry import Backbone
from benchmark.storage import sha256_of_file

pytestmark = pytest.mark.slow

SHA = "0123456789abcdef" * 4
BUILDER = """
import keras

def network(input_shape):
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, keras.layers.Conv2D(6, 3, name="stem")(pixels))

def sequential(input_shape):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Conv2D(6, 3, name="stem")])

def vector(input_shape):
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, keras.layers.GlobalMaxPooling2D()(pixels))
"""


def entry(**facts) -> Backbone:
    weights = {} if "model" in facts else {"weights": "random"}
    return Backbone(**{"name": "Mine", "folder": Path(), "mode": "tf", "input_size_px": 32, **weights, **facts})


@pytest.fixture
def builders(tmp_path, monkeypatch) -> str:
    """Name of an importable module of small networks."""
    (tmp_path / "my_networks.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_networks"


@pytest.fixture
def keras_home(tmp_path, monkeypatch) -> Path:
    """An empty `KERAS_HOME`; Keras reads the variable once, when it is imported."""
    import keras

    home = tmp_path / "keras_home"
    (home / "models").mkdir(parents=True)
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(home))
    return home


def features_of(network, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(network(pixels, training=False))


# Builders and saved models


def test_a_builder_is_called_with_the_size_and_its_feature_map_is_averaged(builders, rng):
    pixels = rng.uniform(-1, 1, (2, 9, 9, 3)).astype(np.float32)

    network = build_backbone(entry(builder=f"{builders}:network"), 9)

    assert network.input_shape == (None, 9, 9, 3)
    kernel, bias = network.get_layer("stem").get_weights()
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(1, 2))
    maps = np.einsum("nyxchw,hwcf->nyxf", windows, kernel) + bias
    np.testing.assert_allclose(features_of(network, pixels), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_a_sequential_network_is_taken_like_any_other(builders):
    network = build_backbone(entry(builder=f"{builders}:sequential"), 9)

    assert network.outputs[0].shape == (None, 6)


def test_a_network_that_ends_in_features_is_left_as_it_is(builders, rng):
    pixels = rng.uniform(-1, 1, (2, 9, 9, 3)).astype(np.float32)

    network = build_backbone(entry(builder=f"{builders}:vector"), 9)

    np.testing.assert_array_equal(features_of(network, pixels), pixels.max(axis=(1, 2)))


@pytest.mark.parametrize("builder", ["absent_package.module:network", "my_networks:absent"])
def test_a_builder_that_cannot_be_imported_is_named(builders, builder):
    with pytest.raises(ConfigError, match=rf"Mine: builder '{builder}' cannot be imported: .*absent"):
        build_backbone(entry(builder=builder), 32)


def test_the_network_cannot_be_trained(builders):
    assert build_backbone(entry(builder=f"{builders}:network"), 9).trainable_weights == []


def test_a_saved_model_keeps_its_weights(tmp_path, builders, rng):
    saved = build_backbone(entry(builder=f"{builders}:network"), 9)
    saved.set_weights([rng.uniform(-1, 1, array.shape) for array in saved.get_weights()])
    saved.save(tmp_path / "mine.keras")
    pixels = rng.uniform(-1, 1, (2, 9, 9, 3)).astype(np.float32)
    record = entry(model="file:mine.keras", folder=tmp_path, input_size_px=9)

    network = build_backbone(record, 9)

    np.testing.assert_allclose(features_of(network, pixels), features_of(saved, pixels), rtol=1e-6)
    assert weights_identity(record) == sha256_of_file(tmp_path / "mine.keras")


def test_a_saved_model_is_refused_at_another_size_than_its_own(tmp_path, builders):
    build_backbone(entry(builder=f"{builders}:network"), 9).save(tmp_path / "mine.keras")

    with pytest.raises(BenchmarkError, match=r"Mine.*9.*12|Mine.*12.*9"):
        build_backbone(entry(model="file:mine.keras", folder=tmp_path, input_size_px=9), 12)


def test_a_missing_model_is_named():
    with pytest.raises(WeightsError, match=r"Mine: .*absent\.keras does not exist; correct 'file:absent\.keras'"):
        build_backbone(entry(model="file:absent.keras"), 32)


# Applications


@pytest.mark.parametrize(("application", "near"), [("ResNet5O", "ResNet50"), ("Vgg16", "VGG16"), ("vgg_16", "VGG16")])
def test_an_unknown_application_is_refused_with_all_known_ones(application, near):
    with pytest.raises(UnknownNameError, match=rf"Unknown application '{application}'\..* Known: .*{near}"):
        build_backbone(entry(application=application), 32)


@pytest.mark.parametrize("application", ["vgg16", "imagenet_utils"])
def test_a_module_of_keras_applications_is_no_application(application):
    with pytest.raises(UnknownNameError, match=f"Unknown application '{application}'"):
        build_backbone(entry(application=application), 32)


def test_a_size_below_the_minimum_is_refused_before_anything_is_built_or_brought():
    record = entry(application="VGG16", min_size_px=32, weights="file:absent.h5")

    with pytest.raises(BenchmarkError, match=r"Mine needs an input of at least 32 px, got 31 px"):
        build_backbone(record, 31)


@pytest.mark.parametrize(("facts", "width"), [({"alpha": 0.35}, 1280), ({"cut": "block_3_expand_relu"}, 144)])
def test_variants_of_an_application_are_cut_and_pooled_as_their_entries_say(rng, facts, width):
    import keras

    pixels = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    pooled = {how: build_backbone(entry(application="MobileNetV2", pooling=how, **facts), 32) for how in ("avg", "max")}

    found = {how: np.asarray(network(pixels)) for how, network in pooled.items()}

    keras.utils.set_random_seed(0)
    keras.utils.clear_session()
    arguments = {"alpha": facts["alpha"]} if "alpha" in facts else {}
    whole = keras.applications.MobileNetV2((32, 32, 3), include_top=False, weights=None, **arguments)
    whole.set_weights(build_backbone(entry(application="MobileNetV2", **arguments), 32).get_weights())
    layer = whole.get_layer(facts.get("cut", "out_relu"))
    maps = np.asarray(keras.Model(whole.inputs[0], layer.output)(pixels))
    assert maps.shape[-1] == width
    np.testing.assert_allclose(found["avg"], maps.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["max"], maps.max(axis=(1, 2)), atol=1e-6)


def test_random_weights_are_the_same_every_time_and_not_trivial():
    record = entry(application="MobileNetV2")

    first, second = build_backbone(record, 32), build_backbone(record, 32)

    for array, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    assert weights_sha256(record, first) == weights_sha256(record, second)
    assert first.output.shape == (None, 1280)
    assert first.get_weights()[0].std() > 0.01


def test_a_weights_file_fits_a_network_that_is_built_again_in_the_same_process(tmp_path):
    """Keras numbers unnamed layers on: EfficientNet's `normalization` is `normalization_1` the second time."""
    import keras

    keras.backend.clear_session()
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    network.save(tmp_path / "net.h5")
    keras.backend.clear_session()
    record = entry(
        application="EfficientNetB0",
        mode="raw",
        weights="file:net.h5",
        weights_group="model_weights",
        folder=tmp_path,
    )
    first = build_backbone(record, 32)

    second = build_backbone(record, 32)

    for array, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)


# ImageNet weights


def write_imagenet_file(path: Path, rng: np.random.Generator) -> list[np.ndarray]:
    """MobileNetV2's file in the layout that Keras downloads, with arrays drawn here; returns the arrays."""
    import keras

    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3))
    arrays = [array + rng.normal(0, 0.05, array.shape).astype(np.float32) for array in network.get_weights()]
    network.set_weights(arrays)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = weight.numpy()
    return arrays


def test_imagenet_weights_are_those_of_the_file_in_keras_home(keras_home, rng):
    path = keras_home / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    arrays = write_imagenet_file(path, rng)
    record = entry(application="MobileNetV2", weights="imagenet")

    network = build_backbone(record, 96)

    assert len(network.get_weights()) == len(arrays)
    for found, array in zip(network.get_weights(), arrays, strict=True):
        np.testing.assert_array_equal(found, array)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    assert weights_sha256(record, network) == digest


@pytest.mark.parametrize("host", ["weights.invalid", "192.0.2.1"])
def test_imagenet_weights_out_of_reach_are_told_within_ten_seconds_and_with_what_to_do(keras_home, monkeypatch, host):
    import keras

    monkeypatch.setattr(keras.src.applications.mobilenet_v2, "BASE_WEIGHT_PATH", f"https://{host}/")
    start = time.perf_counter()

    with pytest.raises(DownloadError, match=r"The ImageNet weights of Mine .*'benchmark fetch'.*KERAS_HOME"):
        build_backbone(entry(application="MobileNetV2", weights="imagenet"), 96)

    assert time.perf_counter() - start < 10


# Where weights come from


def test_the_checksum_of_a_file_is_checked_before_it_is_read(tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(b"no network")

    with pytest.raises(WeightsError, match=rf"Mine: file:net\.h5: .* has sha256 .*, the registry expects {SHA}"):
        weights_file(entry(application="VGG16", weights="file:net.h5", weights_sha256=SHA, folder=tmp_path))


def test_a_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path):
    contents = {"a.h5": b"one", "b.h5": b"one", "c.h5": b"two"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    found = [weights_identity(entry(application="VGG16", weights=f"file:{name}", folder=tmp_path)) for name in contents]

    assert found == [hashlib.sha256(content).hexdigest() for content in contents.values()]


def test_a_weights_file_is_read_once_for_all_cells_and_again_when_it_changes(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(storage, "sha256_of_file", lambda path: read.append(path) or sha256_of_file(path))
    (tmp_path / "a.h5").write_bytes(b"first")
    record = entry(application="VGG16", weights="file:a.h5", folder=tmp_path)

    first, again = weights_identity(record), weights_identity(record)
    (tmp_path / "a.h5").write_bytes(b"second")
    second = weights_identity(record)

    assert first == again != second
    assert len(read) == 2


def test_weights_that_keras_makes_are_known_by_their_kind_and_a_wheels_by_its_checksum():
    wheel = entry(application="VGG16", weights="pypi:a==1/b.h5", weights_sha256=SHA)

    assert weights_identity(entry(application="VGG16")) == "random"
    assert weights_identity(entry(application="VGG16", weights="imagenet")) == "imagenet"
    assert weights_identity(wheel) == SHA


def test_the_checksum_in_a_row_is_that_of_the_file(tmp_path, builders):
    record = entry(builder=f"{builders}:network")
    network = build_backbone(record, 9)
    network.save_weights(tmp_path / "net.weights.h5")
    saved = entry(builder=f"{builders}:network", weights="file:net.weights.h5", folder=tmp_path)

    assert weights_sha256(saved, build_backbone(saved, 9)) == sha256_of_file(tmp_path / "net.weights.h5")


def test_a_path_may_begin_at_the_registry_at_the_root_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net.h5").touch()
    record = entry(application="VGG16", folder=tmp_path)

    for source in ("file:net.h5", f"file:{tmp_path}/net.h5", "file:~/net.h5"):
        assert local_path(record, source) == tmp_path / "net.h5"


def test_weights_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    """A rectifier turns NaN into zero, so features alone would not show it."""
    (tmp_path / "poisoned_networks.py").write_text(
        "import keras\nimport numpy as np\n\n\n"
        "def network(input_shape):\n"
        "    images = keras.Input(input_shape)\n"
        "    made = keras.Model(images, keras.layers.Conv2D(2, 3, activation='relu')(images))\n"
        "    made.set_weights([np.full_like(array, np.nan) for array in made.get_weights()])\n"
        "    return made\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(FeaturesError, match=r"54 of 54 numbers in .*kernel are not finite: the weights are damaged"):
        build_backbone(entry(builder="poisoned_networks:network"), 32)
