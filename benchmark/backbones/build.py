"""A registry record turned into a Keras model that maps preprocessed pixels to features."""

import hashlib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.backbones.builders import call_builder
from benchmark.backbones.identity import inner_layers
from benchmark.backbones.interface import check_input, features_network
from benchmark.backbones.saved import load_model
from benchmark.backbones.sources import local_path, weights_file
from benchmark.backbones.weights import load_arrays
from benchmark.downloads import fast_failing_downloads
from benchmark.errors import ConfigError, FeaturesError, check_known
from benchmark.registry import ARGUMENTS, Backbone, check_classifier_size, check_input_size
from benchmark.storage import sha256_once

# What to do where weights of Keras cannot be downloaded.
INSTEAD = "choose a backbone whose weights come from a package, such as MobileNetV2-dogs or VGG16-hed"
# Random weights are one fixed draw, so that their features can be cached like any others.
RANDOM_WEIGHTS_SEED = 0
RGB = 3


def build_backbone(backbone: Backbone, size_px: int) -> Any:
    """The network without its classifier, with its weights, in inference mode.

    Args:
        backbone: Its registry record.
        size_px: Side of the square input.

    Returns:
        A Keras model from `(n, size_px, size_px, channels)` float32, preprocessed, to features `(n, d)`: the last
        feature map or the tokens, pooled. Channels are three, or one for a network of grey images.

    Raises:
        BenchmarkError: `size_px` is too small, the constructor is unknown, or the weights do not fit.
        FeaturesError: A weight is not a finite number.
        DownloadError: The weights cannot be downloaded.
    """
    import keras

    check_input_size(backbone, size_px)
    # Keras numbers layers that have no name of their own, and weights files know them by that number.
    keras.utils.clear_session()
    keras.utils.set_random_seed(RANDOM_WEIGHTS_SEED)
    network = _features_network(backbone, size_px)
    _load_weights(backbone, network, skip=backbone.weights_skip)
    _check_finite(network, backbone)
    network.trainable = False
    return network


def build_whole(backbone: Backbone, size_px: int) -> Any:
    """The network with its own classifier of ImageNet's classes, with its weights, in inference mode.

    Args:
        backbone: Its registry record, which `has_imagenet_classifier`.
        size_px: Side of the square input.

    Returns:
        A Keras model from `(n, size_px, size_px, 3)` float32, preprocessed, to probabilities `(n, 1000)`.

    Raises:
        BenchmarkError: The network or its classifier does not take images of this size, or the weights do not fit.
        FeaturesError: A weight is not a finite number.
        DownloadError: The weights cannot be downloaded.
    """
    import keras

    assert backbone.has_imagenet_classifier, "the grid refuses the others"
    check_input_size(backbone, size_px)
    check_classifier_size(backbone, size_px)
    keras.utils.clear_session()
    keras.utils.set_random_seed(RANDOM_WEIGHTS_SEED)
    if backbone.hub is not None:
        from benchmark.backbones.hub import build_classifier

        network = build_classifier(backbone, size_px)
    else:
        network = _whole_application(backbone, (size_px, size_px, RGB))
    _check_finite(network, backbone)
    network.trainable = False
    return network


def build_untrained(backbone: Backbone, size_px: int, seed: int, *, n_channels: int = RGB, n_classes: int = 2) -> Any:
    """The network with weights drawn from the seed, all of it trainable.

    A builder may bring weights of its own all the same; `xray.entries` finds out.

    Args:
        backbone: Its registry record; its `weights` are not used.
        size_px: Side of the square input.
        seed: Of the initial weights.
        n_channels: Of the images, for a network with its own classifier; the others take RGB.
        n_classes: For a network with its own classifier.

    Returns:
        A model like that of `build_backbone`; or, with its own classifier, from `(n, size_px, size_px, n_channels)`
        float32 to probabilities `(n, n_classes)`.
    """
    import keras

    check_input_size(backbone, size_px)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if backbone.has_classifier:
        return call_builder(backbone, input_shape=(size_px, size_px, n_channels), n_classes=n_classes)
    without_weights = backbone.model_copy(update={"weights": "random"})
    network = _features_network(without_weights, size_px)
    return _with_new_weights(network, seed) if backbone.model is not None else network


def _features_network(backbone: Backbone, size_px: int) -> Any:
    if backbone.hub is not None:
        from benchmark.backbones.hub import build_encoder

        return features_network(backbone, *build_encoder(backbone, size_px))
    return features_network(backbone, _build_network(backbone, (size_px, size_px, RGB)))


def _build_network(backbone: Backbone, input_shape: tuple[int, int, int]) -> Any:
    if backbone.application is not None:
        return _build_application(backbone, include_top=False, input_shape=input_shape)
    if backbone.builder is not None:
        network = call_builder(backbone, input_shape=input_shape)
    else:
        assert backbone.model is not None, "the registry requires one of the three"
        network = load_model(local_path(backbone, backbone.model))
    check_input(backbone, network, input_shape[0])
    return network


def _load_weights(backbone: Backbone, network: Any, *, skip: Sequence[str]) -> None:
    """Put the arrays of the entry's weights file, if it has one, into the network; `skip` is that of `load_arrays`."""
    path = weights_file(backbone)
    if path is None or backbone.weights == backbone.model:
        return
    load_arrays(network, path, group=backbone.weights_group, match=backbone.weights_match, skip=skip)
    if backbone.weights_graph == "imagenet":
        _fold_imagenet_rescaling(network)


def _whole_application(backbone: Backbone, input_shape: tuple[int, int, int]) -> Any:
    if backbone.weights != "imagenet":
        network = _build_application(backbone, include_top=True, input_shape=input_shape)
        _load_weights(backbone, network, skip=())
        return network
    # With a classifier, Keras gives ImageNet's weights to networks of their own size only.
    pretrained = _build_application(backbone, include_top=True)
    if pretrained.input_shape[1:] == input_shape:
        return pretrained
    network = _build_application(backbone.with_random_weights(), include_top=True, input_shape=input_shape)
    network.set_weights(pretrained.get_weights())
    if _n_rescaling(pretrained) > _n_rescaling(network):
        _fold_imagenet_rescaling(network)
    return network


def _n_rescaling(network: Any) -> int:
    import keras

    return sum(isinstance(layer, keras.layers.Rescaling) for layer in network.layers)


def _build_application(backbone: Backbone, **options: Any) -> Any:
    """What the constructor of `keras.applications` returns for these options of its own and those of the entry."""
    import keras

    assert backbone.application is not None
    check_known("application", backbone.application, application_names())
    constructor = getattr(keras.applications, backbone.application)
    taken = [name for name in ARGUMENTS if name in inspect.signature(constructor).parameters]
    if unknown := [name for name in backbone.arguments if name not in taken]:
        raise ConfigError(
            f"{backbone.name}: keras.applications.{backbone.application} does not take {', '.join(unknown)}; of "
            f"{', '.join(ARGUMENTS)} it takes {', '.join(taken) or 'none'}."
        )
    weights = "imagenet" if backbone.weights == "imagenet" else None
    with fast_failing_downloads(f"The ImageNet weights of {backbone.name} are", INSTEAD), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MobileNet: "`input_shape` is undefined or non-square"
        try:
            return constructor(weights=weights, **options, **backbone.arguments)
        except ValueError as error:  # such as an alpha that has no ImageNet weights
            if not backbone.arguments:
                raise
            raise ConfigError(f"{backbone.name}: keras.applications.{backbone.application}: {error}") from error


def _with_new_weights(network: Any, seed: int) -> Any:
    """The network with weights drawn anew; statistics of a Normalization, which are preprocessing, stay."""
    import keras

    keras.utils.set_random_seed(seed)
    fresh = keras.models.clone_model(network)
    for old, new in zip(inner_layers(network), inner_layers(fresh), strict=True):
        if isinstance(old, keras.layers.Normalization):
            new.set_weights(old.get_weights())
            new.finalize_state()
    fresh.trainable = True
    return fresh


def application_names() -> list[str]:
    """The public constructors of `keras.applications`."""
    import keras

    members = vars(keras.applications).items()
    return sorted(name for name, member in members if name[0].isupper() and callable(member))


def _check_finite(network: Any, backbone: Backbone) -> None:
    # Features need not show it: a rectifier turns NaN into zero.
    for variable in network.variables:
        if not np.isfinite(array := np.asarray(variable)).all():
            n_bad = int(np.count_nonzero(~np.isfinite(array)))
            raise FeaturesError(
                f"{backbone.name}: {n_bad} of {array.size} numbers in {variable.path} are not finite: the weights "
                "are damaged. Fetch or save them again."
            )


def _fold_imagenet_rescaling(network: Any) -> None:
    """Give EfficientNetB0 to B7 the scaling that Keras adds only for `weights="imagenet"`.

    There the graph has one more layer, `Rescaling(1/sqrt(s))` after `Normalization`. Since
    `(x - m) / sqrt(v) / sqrt(s) = (x - m) / sqrt(v s)`, a variance of `v s` gives the same features.
    """
    import keras

    from benchmark.preprocessing import TORCH_STD_RGB

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, *count = layer.get_weights()
            layer.set_weights([mean, (variance * TORCH_STD_RGB).astype(np.float32), *count])
            layer.finalize_state()


def weights_sha256(backbone: Backbone, network: Any) -> str:
    """The checksum of the weights file or, where Keras itself made the weights, of the arrays in the network."""
    path = weights_file(backbone)
    return arrays_sha256(network) if path is None else sha256_once(path)


def arrays_sha256(network: Any) -> str:
    """The checksum of all arrays in the network."""
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()
