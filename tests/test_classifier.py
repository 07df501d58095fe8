"""Which layers learn, and where a network can be cut."""

import keras
import numpy as np
import pytest

from benchmark.errors import UnknownNameError
from benchmark.options import DenseOptions
from benchmark.strategies.classifier import Classifier, UnfreezeError, first_unfrozen
from benchmark.strategies.dense import dense_layers

NAMES = ["input", "a", "b", "c", "d"]


def residual_body() -> keras.Model:
    """input -> stem -> (left, right) -> sum -> bn -> top -> pooling; between stem and sum there is no single tensor."""
    inputs = keras.Input((8, 8, 3), name="pixels")
    stem = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    left = keras.layers.Conv2D(4, 3, padding="same", name="left")(stem)
    right = keras.layers.Conv2D(4, 1, name="right")(stem)
    x = keras.layers.Add(name="sum")([left, right])
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Conv2D(5, 3, activation="relu", name="top")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x))


def moving_mean(classifier: Classifier) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(classifier.body.get_layer("bn").moving_mean))


@pytest.fixture
def classifier() -> Classifier:
    keras.utils.set_random_seed(0)
    return Classifier(residual_body(), dense_layers(DenseOptions(units=6), 3), is_pretrained=True)


@pytest.mark.parametrize(
    ("unfreeze", "first"), [(0, 5), (2, 3), (5, 0), ("all", 0), ("b", 2), (0.4, 3), (0.99, 0), (0.01, 5)]
)
def test_the_first_layer_that_learns(unfreeze, first):
    assert first_unfrozen(unfreeze, NAMES, "net") == first


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(UnfreezeError, match="net has only 5 layers"):
        first_unfrozen(6, NAMES, "net")


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'input'"):
        first_unfrozen("inptu", NAMES, "net")


def test_pooling_is_not_counted_as_a_layer(classifier):
    assert [layer.name for layer in classifier.layers] == ["pixels", "stem", "left", "right", "sum", "bn", "top"]


def test_the_trainable_parameters_are_those_of_the_unfrozen_layers_and_the_head(classifier):
    head = (5 + 1) * 6 + (6 + 1) * 3
    top = (9 * 4 + 1) * 5

    counts = {}
    for unfreeze in (0, 1, 2):
        classifier.unfreeze(unfreeze)
        counts[unfreeze] = classifier.n_trainable()

    assert counts == {0: head, 1: head + top, 2: head + top + 2 * 4}  # of BatchNorm only scale and shift learn
    assert classifier.n_params() == classifier.body.count_params() + head


@pytest.mark.parametrize(
    ("unfreezes", "cut"),
    [((0,), "pool"), ((1,), "bn"), ((2,), "sum"), (("left",), "stem"), (("right",), "stem"), ((1, 0), "bn"),
     ((0, 2, 1), "sum")],
)  # fmt: skip
def test_the_cut_lies_below_every_layer_that_learns_in_any_stage(classifier, unfreezes, cut):
    assert classifier.cut_below(*unfreezes).name == cut


@pytest.mark.parametrize("unfreeze", ["all", "stem"])
def test_there_is_no_cut_where_the_first_layer_learns(classifier, unfreeze):
    assert classifier.cut_below(unfreeze) is None


@pytest.mark.parametrize("unfreeze", [0, 1, 2, "left"])
def test_front_and_tail_together_are_the_whole_network(classifier, unfreeze, rng):
    pixels = rng.random((4, 8, 8, 3), dtype=np.float32)
    inputs = keras.Input((8, 8, 3))
    whole = classifier.whole(inputs, inputs)

    cut = classifier.cut_below(unfreeze)
    in_parts = classifier.tail(cut)(classifier.front(cut)(pixels))

    np.testing.assert_allclose(np.asarray(in_parts), np.asarray(whole(pixels)), rtol=1e-5)


def test_models_of_one_classifier_share_their_weights(classifier, rng):
    features = rng.random((2, 5), dtype=np.float32)
    first = classifier.tail(classifier.cut_below(0))
    second = classifier.tail(classifier.cut_below(0))

    classifier.head[0].kernel.assign(np.ones(classifier.head[0].kernel.shape))

    np.testing.assert_array_equal(np.asarray(first(features)), np.asarray(second(features)))


@pytest.mark.slow
def test_batch_norm_of_a_pretrained_body_stays_in_inference_mode(classifier, rng):
    classifier.unfreeze("all")
    inputs = keras.Input((8, 8, 3))
    model = classifier.whole(inputs, inputs)
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    before = moving_mean(classifier)

    model.fit(rng.random((16, 8, 8, 3), dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 1] * 8], verbose=0)

    np.testing.assert_array_equal(moving_mean(classifier), before)


def test_batch_norm_of_a_network_from_scratch_learns(rng):
    classifier = Classifier(residual_body(), dense_layers(DenseOptions(units=0), 3), is_pretrained=False)
    inputs = keras.Input((8, 8, 3))
    model = classifier.whole(inputs, inputs)
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    before = moving_mean(classifier)

    model.fit(rng.random((16, 8, 8, 3), dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 1] * 8], verbose=0)

    assert not np.array_equal(moving_mean(classifier), before)


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "DenseNet121", "ConvNeXtTiny", "EfficientNetB0"])
@pytest.mark.slow
def test_a_keras_network_is_the_same_in_two_parts(name, rng):
    body = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg")
    classifier = Classifier(body, [], is_pretrained=True)
    pixels = rng.random((2, 64, 64, 3), dtype=np.float32) * 255

    cut = classifier.cut_below(20)
    in_parts = classifier.tail(cut)(classifier.front(cut)(pixels))

    assert not classifier.is_output(cut)
    np.testing.assert_allclose(np.asarray(in_parts), np.asarray(body(pixels)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_published_trainable_parameters_of_mobilenetv2_come_out():
    """Cifar10 report: the last ten layers and a head of 12,810."""
    body = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    classifier = Classifier(body, dense_layers(DenseOptions(units=0), 10), is_pretrained=True)

    classifier.unfreeze(10)

    assert classifier.n_trainable() == 745_290
