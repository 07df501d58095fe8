"""A registry record turned into a Keras model that maps preprocessed pixels to features."""

import hashlib
import importlib
import warnings
from typing import Any

import numpy as np

from benchmark.backbones.sources import local_path, weights_file
from benchmark.backbones.weights import load_arrays
from benchmark.downloads import fast_failing_downloads
from benchmark.errors import BenchmarkError, ConfigError, FeaturesError, check_known
from benchmark.registry import Backbone, check_input_size
from benchmark.storage import sha256_of_file

# Random weights are one fixed draw, so that their features can be cached like any others.
RANDOM_WEIGHTS_SEED = 0
RGB = 3
FEATURE_MAP_RANK = 4


def build_backbone(backbone: Backbone, size_px: int) -> Any:
    """The network without its classifier, with its weights, in inference mode.

    Args:
        backbone: Its registry record.
        size_px: Side of the square input.

    Returns:
        A Keras model from `(n, size_px, size_px, 3)` float32, preprocessed, to features `(n, d)` float32:
        the global average of the last feature map.

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
    path = weights_file(backbone)
    network = _pooled(_build_network(backbone, (size_px, size_px, RGB)))
    if path is not None:
        load_arrays(network, path, group=backbone.weights_group, match=backbone.weights_match)
        if backbone.weights_graph == "imagenet":
            _fold_imagenet_rescaling(network)
    _check_finite(network, backbone)
    network.trainable = False
    return network


def build_untrained(backbone: Backbone, size_px: int, seed: int, *, n_channels: int = RGB, n_classes: int = 2) -> Any:
    """The network with weights drawn from the seed, all of it trainable.

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
        return import_builder(backbone)(input_shape=(size_px, size_px, n_channels), n_classes=n_classes)
    return _pooled(_build_network(backbone.model_copy(update={"weights": "random"}), (size_px, size_px, RGB)))


def _build_network(backbone: Backbone, input_shape: tuple[int, int, int]) -> Any:
    import keras

    if backbone.application is not None:
        known = application_names()
        check_known("application", backbone.application, known)
        constructor = getattr(keras.applications, backbone.application)
        weights = "imagenet" if backbone.weights == "imagenet" else None
        with fast_failing_downloads(f"The ImageNet weights of {backbone.name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MobileNet: "`input_shape` is undefined or non-square"
            return constructor(include_top=False, weights=weights, input_shape=input_shape)
    if backbone.builder is not None:
        return import_builder(backbone)(input_shape=input_shape)
    assert backbone.model is not None, "the registry requires one of the three"
    network = keras.models.load_model(local_path(backbone, backbone.model), compile=False)
    taken = network.inputs[0].shape[1:3]
    if not all(side in (None, size) for side, size in zip(taken, input_shape[:2], strict=True)):
        raise BenchmarkError(
            f"{backbone.name}: {backbone.model} takes {taken[0]} x {taken[1]} px, got {input_shape[0]} px."
        )
    return network


def application_names() -> list[str]:
    """The public constructors of `keras.applications`."""
    import keras

    members = vars(keras.applications).items()
    return sorted(name for name, member in members if name[0].isupper() and callable(member))


def import_builder(backbone: Backbone) -> Any:
    """The function that a registry entry names as its builder.

    Raises:
        ConfigError: It cannot be imported.
    """
    assert backbone.builder is not None
    module_name, function_name = backbone.builder.split(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{backbone.name}: builder {backbone.builder!r} cannot be imported: {error}.") from error


def _check_finite(network: Any, backbone: Backbone) -> None:
    # Features need not show it: a rectifier turns NaN into zero.
    for variable in network.variables:
        if not np.isfinite(array := np.asarray(variable)).all():
            n_bad = int(np.count_nonzero(~np.isfinite(array)))
            raise FeaturesError(
                f"{backbone.name}: {n_bad} of {array.size} numbers in {variable.path} are not finite: the weights "
                "are damaged. Fetch or save them again."
            )


def _pooled(network: Any) -> Any:
    """The network with global average pooling where its output is a feature map."""
    import keras

    output = network.outputs[0]
    if len(output.shape) != FEATURE_MAP_RANK:
        return network
    return keras.Model(network.inputs[0], keras.layers.GlobalAveragePooling2D()(output), name=network.name)


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
    if path is not None:
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()
