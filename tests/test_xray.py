"""The x-ray of networks: small ones of every shape. Those of Keras are in test_constructors.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documented_modes import BUILT_IN, DEVIATION, EXPECTED, MEAN, documented

from benchmark.backbones.saved import load_model
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.preprocessing import MODES, apply_steps, resolve_mode
from benchmark.registry import Backbone, read_registry, shipped_path
from benchmark.xray.affine import NotAffineError
from benchmark.xray.stem import BuiltInLayer, Stem, probe_stem
from benchmark.xray.verdicts import DOUBLE_SCALED, NOT_SCALED, RIGHT, SAME, SWAPPED, judge_mode
from benchmark.xray.xray import XRay, probe_preprocess, xray_backbone, xray_file

REGISTRY = read_registry(shipped_path("backbones.toml"))

BUILDER = """
import keras

def rescaling(input_shape):
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 255)(pixels)))
"""


def network_of(*layers: Any, shape: tuple[int | None, ...] = (12, 10, 3), **options: Any) -> Any:
    """A network of these layers and a convolution."""
    import keras

    return keras.Sequential([keras.Input(shape, **options), *layers, keras.layers.Conv2D(2, 3, name="first")])


def saved(network: Any, folder: Path) -> Path:
    path = folder / "mine.keras"
    network.save(path)
    return path


def xray_of(stem: Stem, native: str) -> XRay:
    return XRay("it", "a test", stem, native, "the test", shown=stem.contradicts(native))


def verdicts_of(xray: XRay) -> dict[str, str]:
    return {judgement.mode: judgement.verdict for judgement in xray.modes}


def entry(**facts: Any) -> Backbone:
    weights = {} if "model" in facts else {"weights": "random"}
    return Backbone(**{"name": "Mine", "folder": Path(), "mode": "raw", "input_size_px": 20, **weights, **facts})


# What a network does to a pixel


def test_a_plain_network_does_nothing_to_pixels():
    stem = probe_stem(network_of(), "it")

    assert (stem.input_px, stem.layers, stem.first_layer, stem.first_kind) == ((12, 10), (), "first", "Conv2D")
    np.testing.assert_array_equal(stem.built_in.matrix, np.eye(3))
    np.testing.assert_array_equal(stem.built_in.offset, np.zeros(3))


def test_built_in_layers_are_named_with_their_numbers_in_the_order_of_the_pixels_way():
    from keras import layers

    network = network_of(
        layers.Rescaling([0.5, 0.25, 2.0], offset=-1, name="scale"),
        layers.ZeroPadding2D(2),
        layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 16.0, 64.0], name="norm"),
    )

    stem = probe_stem(network, "it")

    assert stem.layers == (
        BuiltInLayer("scale", "Rescaling", {"scale": (0.5, 0.25, 2.0), "offset": (-1.0,)}, is_in_weights=False),
        BuiltInLayer("norm", "Normalization", {"mean": (1, 2, 3), "variance": (4, 16, 64)}, is_in_weights=False),
    )
    np.testing.assert_allclose(stem.built_in.matrix, np.diag([0.5 / 2, 0.25 / 4, 2 / 8]), rtol=1e-6)
    np.testing.assert_allclose(stem.built_in.offset, [-2 / 2, -3 / 4, -4 / 8], rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_what_arrives_is_what_a_submodel_up_to_the_convolution_gives(mode, rng):
    import keras

    network = network_of(keras.layers.Rescaling(1 / 50, offset=-3), keras.layers.ZeroPadding2D(1))
    up_to_first = keras.Model(network.inputs[0], network.get_layer("first").input)
    pixels = rng.uniform(0, 255, (1, 12, 10, 3)).astype(np.float32)

    judgement = judge_mode(mode, "caffe", probe_stem(network, "it").built_in)

    given = up_to_first(apply_steps(resolve_mode(mode, "caffe"), pixels)).numpy()[:, 1:-1, 1:-1]
    predicted = pixels.astype(np.float64) @ judgement.arrives.matrix.T + judgement.arrives.offset
    np.testing.assert_allclose(given, predicted, rtol=1e-5, atol=1e-4)
    assert (judgement.arrives.low <= given.min(axis=(0, 1, 2)) + 1e-4).all()
    assert (judgement.arrives.high >= given.max(axis=(0, 1, 2)) - 1e-4).all()


def test_layers_after_the_first_convolution_are_no_preprocessing():
    import keras
    from keras import layers

    network = keras.Sequential([network_of(), layers.Rescaling(7.0), layers.Conv2D(2, 1)])
    network.build((None, 12, 10, 3))

    stem = probe_stem(network, "it")

    assert (stem.layers, stem.first_layer) == ((), "first")


def test_a_network_inside_another_is_looked_into():
    import keras

    pixels = keras.Input((12, 10, 3))
    inner = network_of(keras.layers.Rescaling(1 / 255, name="inside"))
    network = keras.Model(pixels, inner(keras.layers.RandomFlip()(pixels)))

    stem = probe_stem(network, "it")

    assert [layer.name for layer in stem.layers] == ["inside"]
    assert stem.first_layer == "first"
    np.testing.assert_allclose(stem.built_in.matrix, np.eye(3) / 255, rtol=1e-6)


def test_arithmetic_without_layers_is_seen_too():
    """Such as that of Keras's functional operations, which no list of layers shows."""
    import keras

    pixels = keras.Input((12, 10, 3))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 3)(pixels[..., ::-1] / 2.0 - 4.0))

    stem = probe_stem(network, "it")

    assert stem.layers == ()
    assert stem.built_in.channel_order == "BGR"
    np.testing.assert_allclose(stem.built_in.matrix, np.eye(3)[::-1] / 2)
    np.testing.assert_allclose(stem.built_in.offset, [-4, -4, -4])


def test_a_network_that_cuts_images_into_patches_is_described_by_one_pixel():
    import keras

    pixels = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    network = keras.Model(pixels, keras.layers.Dense(4, name="patches")(flat))

    stem = probe_stem(network, "it")

    assert (stem.first_layer, stem.first_kind) == ("patches", "Dense")
    np.testing.assert_allclose(stem.built_in.matrix, np.eye(3) / 255, rtol=1e-6)


@pytest.mark.parametrize(("shape", "options"), [((None, None, 3), {}), ((9, 9, 3), {"batch_size": 4})])
def test_open_sizes_and_fixed_batches_are_fed_as_they_are_wanted(shape, options):
    import keras

    stem = probe_stem(network_of(keras.layers.Rescaling(3.0), shape=shape, **options), "it")

    assert stem.input_px == (64, 64) if None in shape else (9, 9)
    np.testing.assert_allclose(stem.built_in.matrix, 3 * np.eye(3))


def test_a_network_in_half_precision_is_still_judged(rng):
    import keras

    network = network_of(keras.layers.Rescaling(1 / 255, dtype="bfloat16"))

    xray = xray_of(probe_stem(network, "it"), "raw")

    assert verdicts_of(xray) == {mode: EXPECTED["raw"][mode][0] for mode in MODES}


def test_looking_changes_nothing_in_a_network(rng):
    import keras

    network = network_of(keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]))
    images = rng.uniform(0, 255, (2, 12, 10, 3)).astype(np.float32)
    before = network(images).numpy()

    probe_stem(network, "it")

    np.testing.assert_array_equal(network(images).numpy(), before)
    assert not any("call" in vars(layer) for layer in network.layers)


def test_layers_that_do_more_than_scale_and_shift_are_refused():
    import keras

    pixels = keras.Input((12, 10, 3))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 3)(keras.ops.sqrt(pixels)))

    with pytest.raises(NotAffineError, match=r"What mine\.keras does before its first convolution does more than"):
        probe_stem(network, "mine.keras")


def refused_networks() -> dict[str, tuple[Any, str]]:
    import keras
    from keras import layers

    pixels, others = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return {
        "grey": (network_of(shape=(8, 8, 1)), r"no single input of RGB images .* it takes \(8, 8, 1\)"),
        "vectors": (keras.Sequential([keras.Input((7,)), layers.Dense(2)]), r"it takes \(7,\)"),
        "two inputs": (
            keras.Model([pixels, others], layers.Conv2D(2, 3)(layers.Add()([pixels, others]))),
            r"it takes \(8, 8, 3\) and \(8, 8, 3\)",
        ),
        "integers": (
            network_of(layers.Rescaling(1 / 255), dtype="uint8"), r"takes pixels of type uint8, .* mode raw",
        ),
        "no kernel": (
            keras.Sequential([keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D()]),
            r"neither a convolution nor a dense layer that its images reach",
        ),
        "blind": (network_of(layers.Rescaling(0.0, 1.0)), r"what reaches first does not depend on the pixels"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["grey", "vectors", "two inputs", "integers", "no kernel", "blind"])
def test_other_networks_than_those_of_images_are_refused_with_the_reason(kind):
    network, message = refused_networks()[kind]

    with pytest.raises(BenchmarkError, match=f"it.*{message}"):
        probe_stem(network, "it")


# Saved models


def test_a_saved_model_that_rescales_was_made_for_whole_pixels(tmp_path):
    import keras

    xray = xray_file(saved(network_of(keras.layers.Rescaling(1 / 255)), tmp_path), "unit")

    assert (xray.native, xray.native_source) == ("raw", "its built-in layers")
    assert verdicts_of(xray) == {mode: EXPECTED["raw"][mode][0] for mode in MODES}
    assert verdicts_of(xray)["unit"] == DOUBLE_SCALED


def test_a_normalisation_fitted_to_pixels_in_0_to_1_wants_these(tmp_path, rng):
    import keras

    normalization = keras.layers.Normalization()
    normalization.adapt(rng.uniform(0, 1, (8, 12, 10, 3)).astype(np.float32))

    xray = xray_file(saved(network_of(normalization), tmp_path), "raw")

    assert xray.native == "unit"
    assert verdicts_of(xray)["raw"] == NOT_SCALED
    assert [layer.is_in_weights for layer in xray.stem.layers] == [True]
    assert xray.notes == (), "the statistics are there"


def test_a_normalisation_that_was_never_fitted_is_pointed_out(tmp_path):
    import keras

    network = network_of(keras.layers.Rescaling(1 / 255), keras.layers.Normalization(name="norm"))

    (note,) = xray_file(saved(network, tmp_path), None).notes

    assert note.startswith("norm: its mean and variance are weights. Here they are 0 and 1 and change nothing")
    assert "imagenet" not in note


@pytest.mark.parametrize(("fed_mode", "native"), [("raw", "raw"), ("unit", "unit"), ("tf", "tf"), ("caffe", "caffe")])
def test_without_a_built_in_layer_the_mode_that_is_fed_is_taken_as_right(tmp_path, fed_mode, native):
    xray = xray_file(saved(network_of(), tmp_path), fed_mode)

    assert xray.native == native
    assert xray.native_source.startswith("--mode")
    assert verdicts_of(xray)[fed_mode] == SAME
    assert verdicts_of(xray) == {mode: EXPECTED[native][mode][0] for mode in MODES}


@pytest.mark.parametrize("fed_mode", [None, "native", "double", "bgr"])
def test_if_nothing_shows_which_mode_is_right_the_user_is_asked(tmp_path, fed_mode):
    path = saved(network_of(), tmp_path)

    with pytest.raises(
        BenchmarkError, match=rf"no built-in layers that show .* --mode raw\|unit.*got {fed_mode or 'n'}"
    ):
        xray_file(path, fed_mode)


def test_a_network_that_swaps_channels_itself_is_judged_by_what_arrives(tmp_path):
    import keras

    pixels = keras.Input((12, 10, 3))
    network = keras.Model(pixels, keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 255)(pixels[..., ::-1])))

    xray = xray_file(saved(network, tmp_path), None)

    assert xray.stem.built_in.channel_order == "BGR"
    assert verdicts_of(xray)["native"] == RIGHT
    assert verdicts_of(xray)["bgr"] == SWAPPED


def test_a_model_with_code_in_it_is_not_loaded(tmp_path):
    import keras

    path = saved(network_of(keras.layers.Lambda(lambda pixels: pixels / 2, name="halve")), tmp_path)

    with pytest.raises(BenchmarkError, match=r"mine\.keras cannot be loaded: halve \(Lambda\) is code\. .*builder = "):
        load_model(path)


def test_a_model_of_an_unknown_class_is_not_loaded(tmp_path):
    import keras

    class Mine(keras.layers.Layer):
        def call(self, pixels):
            return pixels

    path = saved(network_of(Mine()), tmp_path)

    with pytest.raises(BenchmarkError, match=r"mine\.keras cannot be loaded: .*not of Keras\. .*builder = "):
        load_model(path)


@pytest.mark.parametrize("length", [0.1, 0.5, 0.99])
def test_a_model_that_was_cut_short_is_refused(tmp_path, length):
    path = saved(network_of(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content))])

    with pytest.raises(BenchmarkError, match=r"mine\.keras is not a saved Keras model"):
        load_model(path)


def test_a_model_with_a_damaged_configuration_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{")

    with pytest.raises(BenchmarkError, match=r"mine\.keras is not a saved Keras model, or a damaged one"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.keras", None, r"There is no file .*absent\.keras"),
        ("text.keras", b"no model", r"text\.keras is not a saved Keras model"),
        ("old.h5", b"", r"old\.h5 is not a saved Keras model"),
        ("old.pb", b"", r"old\.pb is not a \.keras or \.h5 file: save the model with model\.save\('x\.keras'\)"),
    ],
)
def test_other_files_than_keras_ones_are_refused_before_they_are_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(BenchmarkError, match=message):
        load_model(tmp_path / name)


# Registered backbones


@pytest.fixture
def builder(tmp_path, monkeypatch) -> str:
    (tmp_path / "xray_networks.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(tmp_path)
    return "xray_networks:rescaling"


def test_a_network_of_ones_own_needs_no_preprocess_input(builder):
    xray = xray_backbone(entry(builder=builder))

    assert (xray.preprocess, xray.preprocess_map, xray.notes) == ("", None, ())
    assert xray.stem.input_px == (20, 20)
    assert verdicts_of(xray)["unit"] == DOUBLE_SCALED


def test_a_registry_that_names_another_function_than_its_mode_is_pointed_out(builder):
    xray = xray_backbone(entry(builder=builder, preprocess="mobilenet_v2"))

    (note,) = xray.notes
    assert note.startswith("preprocess_input of 'mobilenet_v2' is not mode 'raw'")


def test_a_saved_model_in_a_registry_is_inspected_with_its_weights(tmp_path):
    import keras

    saved(network_of(keras.layers.Rescaling(1 / 127.5, -1), shape=(20, 20, 3)), tmp_path)

    xray = xray_backbone(entry(model="file:mine.keras", folder=tmp_path))

    assert xray.source == "file:mine.keras"
    assert verdicts_of(xray)["tf"] == DOUBLE_SCALED


@pytest.mark.parametrize("module", ["resnett", "ResNet50"])
def test_an_unknown_module_of_keras_is_refused(module):
    with pytest.raises(UnknownNameError, match=rf"Unknown module of keras\.applications '{module}'.*resnet"):
        probe_preprocess(module)


@pytest.mark.parametrize("module", sorted({entry.preprocess for entry in REGISTRY.values() if entry.preprocess}))
def test_a_probed_preprocess_input_is_the_documented_formula(module, rng):
    (native,) = {backbone.native_mode for backbone in REGISTRY.values() if backbone.preprocess == module}
    pixels = rng.uniform(0, 255, (100, 3))

    found = probe_preprocess(module)

    np.testing.assert_allclose(pixels @ found.matrix.T + found.offset, documented(native, pixels), atol=1e-4)
    assert found.channel_order == ("BGR" if native == "caffe" else "RGB")


# All of Keras


@pytest.fixture
def free_memory() -> Iterator[None]:
    """The network of the test is dropped, so that forty of them fit one after the other."""
    import keras

    yield
    keras.backend.clear_session()  # collects garbage too


@pytest.mark.slow
@pytest.mark.usefixtures("free_memory")
def test_verdicts_on_efficientnet_hold_in_the_graph_of_its_real_weights_with_their_statistics(monkeypatch):
    """That graph has one more Rescaling; its file keeps deviations where variances belong (tensorflow #49930)."""
    import keras

    monkeypatch.setattr(keras.src.applications.efficientnet.file_utils, "get_file", lambda *_, **__: "")
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_, **__: None)
    keras.utils.clear_session()
    network = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    normalization = network.get_layer("normalization")
    normalization.set_weights([MEAN, DEVIATION, *normalization.get_weights()[2:]])
    normalization.finalize_state()

    stem = probe_stem(network, "EfficientNetB0")

    assert [layer.kind for layer in stem.layers] == ["Rescaling", "Normalization", "Rescaling"]
    scale, offset = BUILT_IN["ImageNet statistics"]
    np.testing.assert_allclose(stem.built_in.matrix, np.diag(scale), rtol=1e-5)
    np.testing.assert_allclose(stem.built_in.offset, offset, rtol=1e-5)
    findings = {one.mode: one.findings or (one.verdict,) for one in xray_of(stem, "raw").modes}
    assert findings == EXPECTED["raw"]
