"""Networks with their own classifier, built by Keras's constructors, at their own size and at others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampling import sampled

from benchmark.backbones.build import build_backbone, build_whole
from benchmark.errors import BenchmarkError, DownloadError, WeightsError
from benchmark.features.engines import ENGINES, CompiledNetwork, is_installed
from benchmark.features.graph import FrozenNetwork
from benchmark.plan.grid import expand
from benchmark.preprocessing import resolve_mode
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Backbone, load_registry
from benchmark.registry.record import OF_ONE_SIZE
from benchmark.work.counting import count_params

pytestmark = pytest.mark.slow

REGISTRY = load_registry()
INSTALLED = [engine for engine in ENGINES if is_installed(engine)]
N_CLASSES = 1000


def random_entry(name: str) -> Backbone:
    return REGISTRY[name].with_random_weights()


def constructed(backbone: Backbone, **options: Any) -> Any:
    """The network as Keras makes it, after the same fixed draw."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    return getattr(keras.applications, str(backbone.application))(**options, **backbone.arguments)


def preprocessed(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    """By Keras's own function."""
    import keras

    module = getattr(keras.applications, str(backbone.preprocess))
    return np.asarray(module.preprocess_input(images.astype(np.float32)))


def answers(network: Any, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(network(pixels, training=False))


SIZES = {"EfficientNetB0": 64, "MobileNetV3Small": 96, "MobileNetV2": 224}


@pytest.mark.parametrize("name", sampled(SIZES, ["MobileNetV3Small"]))
def test_the_answers_are_those_of_keras_with_each_engine(name: str, rng: np.random.Generator):
    backbone, size_px = random_entry(name), SIZES[name]
    images = rng.integers(0, 256, (3, size_px, size_px, 3)).astype(np.uint8)
    steps = resolve_mode("native", backbone.native_mode)

    frozen = FrozenNetwork(build_whole(backbone, size_px), size_px)
    found = [CompiledNetwork(engine, frozen, 3, "float32", 2).extractor(steps).features(images) for engine in INSTALLED]

    reference = constructed(backbone, weights=None, include_top=True, input_shape=(size_px, size_px, 3))
    expected = reference.predict(preprocessed(backbone, images), verbose=0)
    for one in found:
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-7)
    assert frozen.params == reference.count_params()
    assert expected.shape == (3, N_CLASSES)


def test_the_arguments_of_an_entry_reach_the_constructor():
    backbone = random_entry("MobileNet").model_copy(update={"alpha": 0.25})

    network = build_whole(backbone, 32)

    assert network.count_params() == constructed(backbone, weights=None, input_shape=(32, 32, 3)).count_params()


def test_a_file_that_holds_the_classifier_gives_the_same_answers_and_features(tmp_path: Path, rng: np.random.Generator):
    import keras

    pixels = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    network = constructed(random_entry("MobileNet"), weights=None, input_shape=(32, 32, 3), alpha=0.25)
    network.save_weights(tmp_path / "whole.weights.h5")
    entry = Backbone(
        name="Mine", folder=tmp_path, application="MobileNet", alpha=0.25, mode="tf", input_size_px=32,
        weights="file:whole.weights.h5", weights_classifier=True, weights_skip=("conv2d_14",),
    )  # fmt: skip

    found, features = answers(build_whole(entry, 32), pixels), answers(build_backbone(entry, 32), pixels)

    np.testing.assert_allclose(found, answers(network, pixels), rtol=1e-5)
    body = keras.Model(network.input, network.get_layer("global_average_pooling2d").output)
    np.testing.assert_allclose(features, answers(body, pixels).reshape(2, -1), rtol=1e-5)


def test_a_file_without_the_classifier_is_refused_by_the_name_of_the_layer(tmp_path: Path):
    options = {"weights": None, "input_shape": (32, 32, 3), "alpha": 0.25}
    constructed(random_entry("MobileNet"), include_top=False, **options).save_weights(tmp_path / "body.weights.h5")
    entry = Backbone(
        name="Mine", folder=tmp_path, application="MobileNet", alpha=0.25, mode="tf", input_size_px=32,
        weights="file:body.weights.h5", weights_classifier=True,
    )  # fmt: skip

    with pytest.raises(WeightsError, match=r"body.weights.h5 lacks the arrays of layer conv_preds"):
        build_whole(entry, 32)


@pytest.mark.usefixtures("forked_children")
def test_the_parameters_are_those_of_the_whole_network_and_none_is_trained():
    grid = Grid(backbones=("MobileNet",), datasets=("folder:val",), strategies=("classify",), input_size_px=32)

    (counts,) = count_params(expand(Sweep(name="toy", grid=(grid,)), REGISTRY))

    n_params = constructed(random_entry("MobileNet"), weights=None, input_shape=(32, 32, 3)).count_params()
    assert counts["params_total"] == n_params
    assert (counts["params_backbone"], counts["params_trainable"]) == (REGISTRY["MobileNet"].params_backbone, 0)


@pytest.fixture
def imagenet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights where Keras downloads those of ImageNet, with and without the classifier.

    They are saved from the graph that Keras builds for ImageNet's weights, as its own files are.
    """
    import keras

    def make(name: str, origin: str, **_: Any) -> str:
        path = tmp_path / f"{name.removesuffix('.h5')}.weights.h5"
        assert path.exists(), f"{name} is not one of the files of this test"
        return str(path)

    monkeypatch.setattr(keras.src.applications.efficientnet.file_utils, "get_file", make)
    return tmp_path


def make_telling(network: Any, pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Give a new network statistics of pixels, and a classifier whose answers for these images differ."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            _, variance, *count = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.3, 3), rng.uniform(0.5, 1.5, np.shape(variance)), *count])
            layer.finalize_state()
    features = answers(keras.Model(network.input, network.get_layer("avg_pool").output), pixels)
    kernel, _ = network.get_layer("predictions").get_weights()
    spread = ((features - features.mean(axis=0)) @ kernel).std()
    network.get_layer("predictions").set_weights([kernel / spread, -features.mean(axis=0) @ kernel / spread])


def test_at_another_size_imagenets_weights_give_what_keras_gives_there(imagenet_files: Path, rng: np.random.Generator):
    """Keras has no classifier with weights there, but a backbone with them, which is the reference."""
    import keras

    backbone, size_px = REGISTRY["EfficientNetB0"], 64
    with pytest.MonkeyPatch.context() as context:  # the graph of ImageNet's weights, before there is a file of them
        context.setattr(keras.Model, "load_weights", lambda *_, **__: None)
        context.setattr(keras.src.applications.efficientnet.file_utils, "get_file", lambda *_, **__: "none.h5")
        whole = constructed(backbone, weights="imagenet", include_top=True)
    brightness = np.array([30, 120, 255]).reshape(3, 1, 1, 1)
    pixels = (rng.uniform(0, 1, (3, 224, 224, 3)) * brightness).astype(np.float32)
    make_telling(whole, pixels, rng)
    whole.save_weights(imagenet_files / "efficientnetb0.weights.h5")
    body = keras.Model(whole.input, whole.get_layer("top_activation").output)
    body.save_weights(imagenet_files / "efficientnetb0_notop.weights.h5")
    pixels = pixels[:, :size_px, :size_px]

    found = answers(build_whole(backbone, size_px), pixels)

    features = answers(build_backbone(backbone, size_px), pixels)
    kernel, bias = whole.get_layer("predictions").get_weights()
    logits = features @ kernel + bias
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert np.abs(found[0] / found[1] - 1).max() > 0.1, "the answers hardly depend on the image"


def test_without_a_network_the_weights_with_the_classifier_are_a_download_error():
    with pytest.raises(DownloadError, match="The ImageNet weights of MobileNetV2"):
        build_whole(REGISTRY["MobileNetV2"], 96)


def test_a_classifier_of_one_size_is_refused_at_another():
    with pytest.raises(BenchmarkError, match="VGG19: its classifier takes images of 224 px only, got 64 px"):
        build_whole(random_entry("VGG19"), 64)


@pytest.mark.parametrize("name", sampled(("VGG16", "MobileNet", "MobileNetV2", "ResNet50V2"), ("VGG16", "MobileNet")))
def test_only_a_classifier_with_a_weight_for_each_place_has_other_weights_at_another_size(name: str):
    small, large = (constructed(REGISTRY[name], weights=None, input_shape=(px, px, 3)).weights for px in (32, 64))

    has_others = [weight.shape for weight in small] != [weight.shape for weight in large]
    assert has_others == (name in OF_ONE_SIZE)
