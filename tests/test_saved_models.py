"""Saved models of other people: loaded without running code, or refused with what they are and what to do."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmark.backbones.build import build_backbone, build_untrained, weights_sha256
from benchmark.backbones.identity import inner_layers
from benchmark.backbones.interface import NetworkError
from benchmark.backbones.saved import load_model
from benchmark.backbones.sources import weights_identity
from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError, WeightsError
from benchmark.registry import Backbone
from benchmark.storage import sha256_of_file
from benchmark.xray.entries import Use, examine_all
from benchmark.xray.xray import xray_backbone, xray_file

pytestmark = pytest.mark.slow


def entry(path: Path, **facts: Any) -> Backbone:
    given = {"name": "Mine", "folder": path.parent, "mode": "tf", "input_size_px": 16, "model": f"file:{path.name}"}
    return Backbone(**given | facts)


def saved(folder: Path, network: Any, name: str = "mine.keras") -> Path:
    network.save(folder / name)
    return folder / name


def network_of(*layers: Any, shape: tuple[int | None, ...] = (16, 16, 3), **options: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input(shape, **options), *layers])


# Files


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["mine.keras", "mine.h5"])
def test_a_saved_model_has_the_weights_of_its_file_and_says_so(tmp_path, rng, name):
    import keras

    network = network_of(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    network.set_weights([rng.uniform(0.1, 1, array.shape) for array in network.get_weights()])
    path = saved(tmp_path, network, name)
    pixels = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    record = entry(path)

    built = build_backbone(record, 16)

    expected = np.asarray(network(pixels, training=False)).mean(axis=(1, 2))
    np.testing.assert_allclose(built(pixels, training=False), expected, rtol=1e-5, atol=1e-6)
    assert record.weights == f"file:{name}"
    assert weights_identity(record) == weights_sha256(record, built) == sha256_of_file(path)


def test_another_seed_draws_other_weights_for_a_saved_model_and_keeps_its_statistics(tmp_path, rng):
    import keras

    network = network_of(keras.layers.Normalization(name="norm"), keras.layers.Conv2D(4, 3, name="conv"))
    network.get_layer("norm").adapt(rng.uniform(0, 255, (8, 16, 16, 3)))
    path = saved(tmp_path, network)

    kernels = [build_untrained(entry(path), 16, seed).get_layer("conv").get_weights()[0] for seed in (0, 1, 0)]
    norm = build_untrained(entry(path), 16, 0).get_layer("norm")

    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], network.get_layer("conv").get_weights()[0])
    np.testing.assert_array_equal(kernels[0], kernels[2])
    np.testing.assert_array_equal(norm.get_weights()[0], network.get_layer("norm").get_weights()[0])


def test_a_nested_network_keeps_its_statistics_when_its_weights_are_drawn_anew(tmp_path, rng):
    import keras

    inner = network_of(keras.layers.Normalization(name="norm"), keras.layers.Conv2D(4, 3))
    inner.get_layer("norm").adapt(rng.uniform(0, 255, (8, 16, 16, 3)))
    path = saved(tmp_path, network_of(inner, keras.layers.GlobalAveragePooling2D()))

    (norm,) = (layer for layer in inner_layers(build_untrained(entry(path), 16, 0)) if layer.name == "norm")

    np.testing.assert_array_equal(norm.get_weights()[0], inner.get_layer("norm").get_weights()[0])


def test_scratch_on_a_saved_model_that_fixes_its_seeds_is_refused(tmp_path):
    """Every seed would train from the same weights."""
    import keras

    path = saved(tmp_path, network_of(keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(1))))
    scratch = Use(entry(path), 16, 3, 2, draws_weights=True, is_trained=True, steps=frozenset({"tf"}))

    with pytest.raises(ConfigError, match="the same for two seeds, so its file fixes the seed of an initializer"):
        examine_all([scratch])


def as_keras_2_wrote_it(path: Path) -> Path:
    """The file with the arguments that Keras 2 gave these layers."""

    def add(config: dict[str, Any]) -> str:
        for layer in config["config"]["layers"]:
            if layer["class_name"] in ("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"):
                layer["config"]["groups"] = 1
            if layer["class_name"] == "SeparableConv2D":
                layer["config"] |= {"kernel_initializer": {"class_name": "Zeros", "config": {}}}
                layer["config"] |= {"kernel_regularizer": None, "kernel_constraint": None}
        return json.dumps(config)

    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = add(json.loads(file.attrs["model_config"]))
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, add(json.loads(content)) if name == "config.json" else content)
    return path


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["old.h5", "old.keras"])
@pytest.mark.parametrize("kind", ["DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"])
def test_a_model_of_keras_2_is_loaded_with_the_arguments_that_keras_3_no_longer_takes(tmp_path, rng, kind, name):
    import keras

    arguments = () if kind == "DepthwiseConv2D" else (4,)
    network = network_of(getattr(keras.layers, kind)(*arguments, kernel_size=3), keras.layers.Conv2D(2, 1))
    path = as_keras_2_wrote_it(saved(tmp_path, network, name))
    before = sha256_of_file(path)
    pixels = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)

    loaded = load_model(path)

    np.testing.assert_allclose(loaded(pixels), network(pixels), rtol=1e-6)
    assert sha256_of_file(path) == before, "the user's file was changed"


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["mine.keras", "mine.h5"])
def test_a_custom_layer_or_code_is_named_with_the_way_to_use_it_all_the_same(tmp_path, name):
    import keras

    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    for layer, complaint in ((Twice(), "Twice|no part of Keras"), (keras.layers.Lambda(abs, name="code"), "is code")):
        path = saved(tmp_path, network_of(layer, keras.layers.Conv2D(2, 1)), name)
        with pytest.raises(WeightsError, match=rf"{name} cannot be loaded: .*({complaint}).*builder = "):
            load_model(path)


def test_a_model_that_names_any_importable_class_does_not_import_it(tmp_path):
    import keras

    path = saved(tmp_path, network_of(keras.layers.Conv2D(2, 1)))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"].append({"module": "os", "class_name": "system", "config": {"name": "evil"}})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)

    with pytest.raises(WeightsError, match=r"evil \(system\) is of os, not of Keras"):
        load_model(path)


def test_a_folder_of_tensorflow_is_called_by_its_name_in_the_registry_and_by_inspect(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "saved_model.pb").touch()
    complaint = r"old is a folder, a SavedModel of TensorFlow: expected .*model\.save\('x\.h5'\).* builder = "

    with pytest.raises(WeightsError, match=complaint):
        build_backbone(entry(tmp_path / "old"), 16)
    with pytest.raises(WeightsError, match=complaint):
        xray_file(tmp_path / "old", None)


def test_weights_without_an_architecture_are_called_so(tmp_path):
    import keras

    network_of(keras.layers.Conv2D(2, 1)).save_weights(tmp_path / "mine.weights.h5")

    with pytest.raises(WeightsError, match=r'weights without an architecture.*weights = "file:mine\.weights\.h5"'):
        load_model(tmp_path / "mine.weights.h5")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>404</html>"])
@pytest.mark.parametrize("name", ["mine.keras", "mine.h5"])
def test_a_damaged_file_has_one_text_wherever_it_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for read in (lambda: build_backbone(entry(tmp_path / name), 16), lambda: xray_file(tmp_path / name, None)):
        with pytest.raises(WeightsError, match=rf"{name} is not a saved Keras model, or a damaged one: "):
            read()


# Outputs


def classifier(*, logits: bool = False) -> Any:
    import keras

    return network_of(
        keras.layers.Conv2D(5, 3),
        keras.layers.GlobalAveragePooling2D(name="gap"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(3, name="scores", activation=None if logits else "softmax"),
    )


@pytest.mark.parametrize("logits", [False, True])
def test_a_whole_classifier_is_refused_with_the_layer_to_cut_at(tmp_path, logits):
    path = saved(tmp_path, classifier(logits=logits))

    with pytest.raises(NetworkError, match=r"ends in scores \(Dense.*classifier.*cut = \"dropout(_\d+)?\""):
        build_backbone(entry(path), 16)


def test_a_classifier_is_cut_where_its_entry_says(tmp_path, rng):
    network = classifier()
    path = saved(tmp_path, network)
    pixels = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)

    built = build_backbone(entry(path, cut="gap"), 16)

    expected = np.asarray(network.layers[0](pixels)).mean(axis=(1, 2))
    np.testing.assert_allclose(built(pixels, training=False), expected, rtol=1e-5, atol=1e-6)


def test_numbers_of_a_dense_layer_are_features_where_the_entry_says_so(tmp_path):
    path = saved(tmp_path, classifier(logits=True))

    assert build_backbone(entry(path, cut="scores"), 16).output_shape == (None, 3)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_a_dense_layer_with_another_activation_ends_no_classifier(tmp_path, activation):
    import keras

    layers = keras.layers
    network = network_of(layers.Conv2D(5, 3), layers.Flatten(), layers.Dense(7, activation=activation))

    assert build_backbone(entry(saved(tmp_path, network)), 16).output_shape == (None, 7)


@pytest.mark.parametrize("end", ["layer", "activation", "operation", "shape", "nested"])
def test_a_classifier_is_known_however_it_ends(tmp_path, end):
    import keras

    layers = keras.layers
    pixels = keras.Input((16, 16, 3))
    x = layers.Dense(3)(layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(pixels)))
    if end == "operation":
        x = keras.ops.softmax(x)
    elif end == "activation":
        x = layers.Activation("linear")(layers.Activation("softmax")(x))
    else:
        x = layers.Softmax()(x)
    if end == "shape":
        x = layers.Reshape((3,))(x)
    network = keras.Model(pixels, x)
    if end == "nested":
        network = network_of(network)

    with pytest.raises(NetworkError, match="a classifier"):
        build_backbone(entry(saved(tmp_path, network)), 16)


def test_a_layer_to_cut_at_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown layer of Mine 'gapp'\. Did you mean 'gap'\?"):
        build_backbone(entry(saved(tmp_path, classifier()), cut="gapp"), 16)


def test_several_outputs_are_refused_and_one_of_them_can_be_chosen(tmp_path):
    import keras

    pixels = keras.Input((16, 16, 3))
    deep = keras.layers.Conv2D(4, 3, name="deep")(keras.layers.Conv2D(6, 3, name="shallow")(pixels))
    shallow = keras.layers.GlobalMaxPooling2D(name="other")(deep)
    path = saved(tmp_path, keras.Model(pixels, [deep, shallow]))

    with pytest.raises(NetworkError, match=r'has 2 outputs \(.*\): name the layer .*cut = "LAYER"'):
        build_backbone(entry(path), 16)
    assert build_backbone(entry(path, cut="deep"), 16).output_shape == (None, 4)


def tokens() -> Any:
    import keras

    return network_of(keras.layers.Conv2D(4, 4, strides=4), keras.layers.Reshape((16, 4)))


def test_tokens_need_a_way_to_become_one_vector(tmp_path):
    path = saved(tmp_path, tokens())

    with pytest.raises(
        NetworkError, match=r'gives \(16, 4\) per image, not one vector: give pooling = "avg" or "max" or'
    ):
        build_backbone(entry(path), 16)


@pytest.mark.parametrize(
    ("pooling", "reference"),
    [("avg", lambda x: x.mean(axis=1)), ("max", lambda x: x.max(axis=1)), ("cls", lambda x: x[:, 0])],
)
def test_tokens_are_pooled_as_the_entry_says(tmp_path, rng, pooling, reference):
    network = tokens()
    path = saved(tmp_path, network)
    pixels = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)

    built = build_backbone(entry(path, pooling=pooling), 16)

    np.testing.assert_allclose(built(pixels), reference(np.asarray(network(pixels))), rtol=1e-5, atol=1e-6)


def test_a_feature_map_can_be_pooled_by_its_maximum(tmp_path, rng):
    import keras

    network = network_of(keras.layers.Conv2D(4, 3))
    path = saved(tmp_path, network)
    pixels = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)

    found = build_backbone(entry(path, pooling="max"), 16)(pixels)

    np.testing.assert_allclose(found, np.asarray(network(pixels)).max(axis=(1, 2)), rtol=1e-6)


def test_a_pooling_that_does_not_fit_is_refused(tmp_path):
    import keras

    vector = network_of(keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D())
    path = saved(tmp_path, vector)

    with pytest.raises(
        NetworkError, match=r'gives \(4,\) per image, which pooling = "max" does not .*leave pooling out'
    ):
        build_backbone(entry(path, pooling="max"), 16)


# Inputs


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((7,), r"takes \(7,\): expected one input of images"),
        ((16, 16, 4), r"takes \(16, 16, 4\): expected"),
        ((3, 16, 16), r"takes \(3, 16, 16\): expected"),
        ((24, 16, 3), "takes 24 x 16 px, got 16 px"),
    ],
)
def test_a_model_that_takes_no_such_images_is_refused_when_it_is_built(tmp_path, shape, complaint):
    import keras

    path = saved(tmp_path, network_of(keras.layers.Activation("relu"), shape=shape))

    with pytest.raises(NetworkError, match=rf"Mine: file:mine\.keras {complaint}"):
        build_backbone(entry(path), 16)


def test_two_inputs_are_refused(tmp_path):
    import keras

    one, two = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    path = saved(tmp_path, keras.Model([one, two], keras.layers.Add()([one, two])))

    with pytest.raises(NetworkError, match=r"takes \(16, 16, 3\) and \(16, 16, 3\): expected one input"):
        build_backbone(entry(path), 16)


def test_a_model_of_whole_numbers_is_fed_raw_pixels_only(tmp_path):
    import keras

    network = network_of(keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3), dtype="uint8")
    path = saved(tmp_path, network)

    with pytest.raises(NetworkError, match="only mode raw can be right for it, not tf"):
        build_backbone(entry(path), 16)
    assert build_backbone(entry(path, mode="raw"), 16).output_shape == (None, 2)


# Precision


def pooled_network(dtype: str) -> Any:
    import keras

    layers = keras.layers
    return network_of(layers.Conv2D(4, 3, dtype=dtype), layers.GlobalAveragePooling2D(dtype=dtype))


def test_running_out_of_memory_is_not_reported_as_damage(tmp_path, monkeypatch):
    import keras

    def load(*_, **__):
        raise MemoryError

    path = saved(tmp_path, pooled_network("float32"))
    monkeypatch.setattr(keras.models, "load_model", load)

    with pytest.raises(MemoryError):
        build_backbone(entry(path), 16)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16", "float64"])
def test_features_are_float32_whatever_the_layers_compute_in(tmp_path, rng, dtype, n_channels):
    from benchmark.datasets.images import ArrayImages
    from benchmark.features.engine import extract_features
    from benchmark.features.engines import TENSORFLOW, CompiledNetwork
    from benchmark.features.graph import FrozenNetwork
    from benchmark.preprocessing import View

    path = saved(tmp_path, pooled_network(dtype))
    network = build_backbone(entry(path), 16)
    pixels = rng.integers(0, 256, (20, 16, 16, n_channels), dtype=np.uint8)
    view = View(16, "bilinear", "squash", ("tf",))

    with (tmp_path / "features.npy").open("wb") as file:
        compiled = CompiledNetwork(TENSORFLOW, FrozenNetwork(network, 16), n_channels, "float32")
        extractor = compiled.extractor(view.steps)
        extract_features(extractor, ArrayImages(pixels).source(view), len(pixels), file)

    found = np.load(tmp_path / "features.npy", mmap_mode="r")
    expected = network((np.broadcast_to(pixels, (20, 16, 16, 3)) / 127.5 - 1).astype(np.float32), training=False)
    assert (found.dtype, found.shape) == (np.float32, (20, 4))
    assert found.offset + found.nbytes == (tmp_path / "features.npy").stat().st_size
    np.testing.assert_allclose(found, np.asarray(expected, np.float32), atol=0.02)


def test_a_network_of_grey_images_is_fed_luminance(tmp_path, rng):
    import keras

    from benchmark.features.engines import TENSORFLOW, CompiledNetwork
    from benchmark.features.graph import FrozenNetwork

    path = saved(tmp_path, network_of(keras.layers.Activation("linear"), shape=(16, 16, 1)))
    pixels = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)

    frozen = FrozenNetwork(build_backbone(entry(path), 16), 16)
    found = CompiledNetwork(TENSORFLOW, frozen, 3, "float32").extractor(("unit",)).features(pixels)

    # ITU-R BT.601, as Pillow's mode L has it.
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(np.asarray(found)[:, 0], luminance.mean(axis=(1, 2)), atol=1e-3)


def test_inspect_sees_the_network_of_the_file(tmp_path):
    import keras

    path = saved(tmp_path, network_of(keras.layers.Rescaling(1 / 127.5, -1), keras.layers.Conv2D(2, 3)))

    judged = {one.mode: one.verdict for one in xray_backbone(entry(path, mode="raw")).modes}

    assert judged["native"] == "right"
    with pytest.raises(BenchmarkError, match="expected one input"):
        xray_backbone(entry(saved(tmp_path, network_of(keras.layers.Dense(2), shape=(7,)), "vector.keras")))
