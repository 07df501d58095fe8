"""Constructors of Keras, each built once: their facts in the registry, and the x-ray's verdicts on them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from documented_modes import BUILT_IN, EXPECTED, NATIVE_OF, fed
from sampling import sampled

from benchmark.registry import Backbone, read_registry, shipped_path
from benchmark.xray import xray
from benchmark.xray.xray import xray_backbone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning"),
]

REGISTRY = read_registry(shipped_path("backbones.toml"))

# What Keras documents to stand in the graph that is built without weights; statistics of EfficientNet are weights.
LAYERS_OF = {
    "MobileNetV3": (["Rescaling"], "Rescaling(1/127.5, -1)"),
    "EfficientNetV2B": (["Rescaling", "Normalization"], "ImageNet statistics"),
    "EfficientNetV2": (["Rescaling"], "Rescaling(1/128, -1)"),
    "EfficientNetB": (["Rescaling", "Normalization"], "Rescaling(1/255)"),
    "ConvNeXt": (["Normalization"], "ImageNet statistics"),
    "": ([], "nothing"),
}


# Each way of preprocessing.
FEW = (
    "MobileNet", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "EfficientNetV2S", "DenseNet121", "VGG16",
    "ConvNeXtTiny",
)  # fmt: skip


@pytest.fixture(scope="module", params=sampled(NATIVE_OF, FEW))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return REGISTRY[request.param]


@pytest.fixture(scope="module")
def network(backbone: Backbone) -> Iterator[Any]:
    """What Keras itself builds, without weights, at the minimal size; dropped afterwards, so that forty of them fit.

    Its kernels are zeros, because no test looks at them and random ones take a third of the time.
    """
    import keras

    constructor = getattr(keras.applications, backbone.name)
    shape = (backbone.min_size_px, backbone.min_size_px, 3)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(keras.initializers.VarianceScaling, "__call__", lambda _, shape, dtype: np.zeros(shape, dtype))
        network = constructor(include_top=False, weights=None, pooling="avg", input_shape=shape)
    yield network
    keras.backend.clear_session()  # collects garbage too


def test_width_and_parameters_are_those_of_the_network_that_keras_builds(backbone: Backbone, network: Any):
    """At the minimal size, because neither depends on it."""
    assert network.output.shape == (None, backbone.feature_dim)
    assert network.count_params() == backbone.params_backbone


def test_every_constructor_gets_the_right_verdict_on_every_mode(
    backbone: Backbone, network: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(xray, "build_untrained", lambda *_, **__: network)
    native = NATIVE_OF[backbone.name]
    kinds, built_in = next(layers for prefix, layers in LAYERS_OF.items() if backbone.name.startswith(prefix))
    scale, offset = BUILT_IN[built_in]
    corners = np.array(np.meshgrid([0.0, 255.0], [0.0, 255.0], [0.0, 255.0])).reshape(3, -1).T

    found = xray_backbone(backbone)

    assert {one.mode: one.findings or (one.verdict,) for one in found.modes} == EXPECTED[native]
    assert {one.mode: one.verdict for one in found.modes} == {
        mode: findings[0] for mode, findings in EXPECTED[native].items()
    }
    assert (found.native, found.stem.first_kind) == (native, "Conv2D")
    assert [layer.kind for layer in found.stem.layers] == kinds
    for one in found.modes:
        arrives = fed(one.mode, native, corners) * scale + offset
        np.testing.assert_allclose(one.arrives.low, arrives.min(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.arrives.high, arrives.max(axis=0), rtol=1e-4, atol=1e-5)
    is_efficientnet = backbone.name.startswith("EfficientNetB")
    in_weights = [layer.name.partition("_")[0] for layer in found.stem.layers if layer.is_in_weights]
    assert in_weights == (["normalization"] if is_efficientnet else [])
    assert any("imagenet" in note for note in found.notes) == is_efficientnet
