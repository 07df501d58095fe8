"""Registry entries of one's own, checked against Keras and against their networks before a sweep uses them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmark.backbones.build import RANDOM_WEIGHTS_SEED, build_backbone, build_untrained
from benchmark.backbones.identity import inner_layers, layer_with_own_weights, network_sha256
from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError
from benchmark.preprocessing import NATIVE_MODES, Normalisation, Step
from benchmark.registry import Backbone
from benchmark.xray.affine import AffineMap
from benchmark.xray.stem import probe_stem
from benchmark.xray.verdicts import find_differences, map_of_steps
from benchmark.xray.xray import probe_preprocess, shown_mode

# Steps of modes that mix or treat channels, which grey images do not have.
STEPS_OF_COLOURS = ("caffe", "torch", "swap")


@dataclass(frozen=True)
class Use:
    """How a sweep uses an entry.

    Attributes:
        backbone: The entry.
        size_px: Side of the square input.
        n_channels: Of the images, for a network with its own classifier.
        n_classes: For the same.
        draws_weights: Whether each seed is to have weights of its own.
        is_trained: Whether more than a head on its features is trained.
        steps: Of all modes that it is fed.
    """

    backbone: Backbone
    size_px: int
    n_channels: int
    n_classes: int
    draws_weights: bool
    is_trained: bool
    steps: frozenset[Step]


class Found(NamedTuple):
    """What a network is.

    Attributes:
        sha256: Of the network that a builder of its user's makes; empty for other networks.
        shown_mode: See `xray.shown_mode`; empty also where the stem of a network cannot be probed.
    """

    sha256: str
    shown_mode: Step


def examine_all(uses: Sequence[Use]) -> list[Found]:
    """What the network of each use is.

    Raises:
        BenchmarkError: A network cannot be built, or is not what its entry says; the message names entry and key.
    """
    found = []
    for use in uses:
        try:
            found.append(_examine(use))
        except BenchmarkError:
            raise
        except Exception as error:  # Keras raises all kinds, such as ValueError for a size that is too small
            raise ConfigError(
                f"{use.backbone.name} cannot be built at {use.size_px} px: {type(error).__name__}: {error}"
            ) from error
    return found


def _examine(use: Use) -> Found:
    backbone = use.backbone
    _check_preprocess(backbone)
    if backbone.include_preprocessing is False:
        _check_without_preprocessing(use)
    network = _build(use)
    if backbone.has_classifier:
        _check_probabilities(use, network)
    else:
        _check_fact(backbone, "feature_dim", int(network.outputs[0].shape[-1]))
        _check_fact(backbone, "params_backbone", int(network.count_params()))
    _check_channels(use, network)
    if use.is_trained:
        _check_float32(backbone, network)
    if use.draws_weights and backbone.application is None:
        _check_drawn(use)
    sha256 = _identify(use, network) if backbone.has_own_builder else ""
    return Found(sha256, _shown_mode(backbone, network))


def _shown_mode(backbone: Backbone, network: Any) -> Step:
    try:
        return shown_mode(backbone, probe_stem(network, backbone.name))
    except BenchmarkError:  # it does not take RGB images, or does more to them than scale and shift
        return ""


def _build(use: Use) -> Any:
    if use.backbone.model is not None:
        return build_backbone(use.backbone, use.size_px)
    return _untrained(use, RANDOM_WEIGHTS_SEED)


def _untrained(use: Use, seed: int) -> Any:
    return build_untrained(use.backbone, use.size_px, seed, n_channels=use.n_channels, n_classes=use.n_classes)


def _identify(use: Use, network: Any) -> str:
    sha256 = network_sha256(network)
    if network_sha256(_build(use)) != sha256:
        raise ConfigError(
            f"{use.backbone.name}: builder {use.backbone.builder!r} makes another network each time, so no "
            "result could be reproduced: let all chance follow keras.utils.set_random_seed, which is called first."
        )
    return sha256


def _check_drawn(use: Use) -> None:
    path = layer_with_own_weights(*(_untrained(use, RANDOM_WEIGHTS_SEED + number) for number in (0, 1)))
    if not path:
        return
    asked = 'weights = "random"' if use.backbone.weights == "random" else "strategy scratch"
    cause = (
        "so its file fixes the seed of an initializer. Choose another strategy, or save the network without it."
        if use.backbone.model
        else 'so its builder brings it. Leave weights out (then they are "builder", as it gives them) and choose '
        "another strategy than scratch, or let it build the network without weights."
    )
    raise ConfigError(
        f"{use.backbone.name}: {asked} needs weights that each seed draws anew, but {path} is the same for two seeds, "
        f"{cause}"
    )


def _check_fact(backbone: Backbone, key: str, found: int) -> None:
    given = getattr(backbone, key)
    if given is not None and given != found:
        raise ConfigError(f"{backbone.name}: {key} = {given}, but its network has {found}: correct it or leave it out.")


def _check_preprocess(backbone: Backbone) -> None:
    if backbone.preprocess is None:
        return
    try:
        found = probe_preprocess(backbone.preprocess)
    except UnknownNameError as error:
        raise ConfigError(f"{backbone.name}: preprocess: {error}") from error
    # Without its own preprocessing, a network needs another one than that of its module.
    if backbone.include_preprocessing is not False:
        source = f"preprocess_input of keras.applications.{backbone.preprocess}"
        _check_mode(backbone, found, source, "correct one of mode and preprocess")


def _check_without_preprocessing(use: Use) -> None:
    usual = use.backbone.model_copy(update={"include_preprocessing": None})
    stem = probe_stem(build_untrained(usual, use.size_px, RANDOM_WEIGHTS_SEED), usual.name)
    _check_mode(use.backbone, stem.built_in, "what include_preprocessing = false leaves out", "correct mode")


def _check_mode(backbone: Backbone, right: AffineMap, source: str, cure: str) -> None:
    """Refuse an entry whose mode is not this map of a pixel."""
    if find_differences(map_of_steps((backbone.native_mode,)), right):
        fitting = [mode for mode in NATIVE_MODES if not find_differences(map_of_steps((mode,)), right)]
        raise ConfigError(
            f'{backbone.name}: mode = "{backbone.native_mode}", but {source} is '
            f"{fitting[0] if fitting else 'none of the modes'}: {cure}."
        )


def _check_probabilities(use: Use, network: Any) -> None:
    """Refuse a network with its own classifier that does not give one probability per class."""
    shape = tuple(network.inputs[0].shape[1:])
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (2, use.size_px, use.size_px, use.n_channels)).astype(np.float32)
    outputs = np.asarray(network(images, training=False)) if shape == images.shape[1:] else np.empty(0)
    if outputs.shape != (2, use.n_classes) or not np.allclose(outputs.sum(axis=1), 1, atol=1e-2) or outputs.min() < 0:
        raise ConfigError(
            f"{use.backbone.name}: has_classifier = true promises {use.n_classes} probabilities (softmax) of images "
            f"{images.shape[1:]}; its network gives {tuple(network.outputs[0].shape[1:])} of {shape}."
        )


def _check_channels(use: Use, network: Any) -> None:
    of_colours = sorted(str(step) for step in use.steps if step in STEPS_OF_COLOURS or isinstance(step, Normalisation))
    if network.inputs[0].shape[-1] == 1 and of_colours:
        raise BenchmarkError(
            f"{use.backbone.name} takes grey images, for which {', '.join(of_colours)} has no meaning: choose modes of "
            "one channel (raw, unit, tf)."
        )


def _check_float32(backbone: Backbone, network: Any) -> None:
    for layer in inner_layers(network):
        if layer.weights and layer.compute_dtype != "float32":
            raise BenchmarkError(
                f"{backbone.name}: its layer {layer.name} computes in {layer.compute_dtype}, and strategies finetune "
                "and scratch train in float32 only: choose strategy probe, or save the network in float32."
            )
