"""What a network of one's own takes and gives, checked, and its output turned into features `(n, d)`."""

from typing import Any

from benchmark.errors import BenchmarkError, check_known
from benchmark.registry import Backbone

VECTOR, TOKENS, FEATURE_MAP = 2, 3, 4  # ranks of a batch
GREY_OR_RGB = (1, 3)
# Activations that end a classifier.
OF_CLASSIFIERS = ("softmax", "sigmoid", "log_softmax")


class NetworkError(BenchmarkError):
    """A network that gives no features, or takes something else than square images."""


def check_input(backbone: Backbone, network: Any, size_px: int) -> None:
    """Refuse a network that does not take square images of this side.

    Raises:
        NetworkError: It does not.
    """
    shapes = [tuple(one.shape) for one in network.inputs]
    taken = " and ".join(str(shape[1:]) for shape in shapes)
    if len(shapes) != 1 or len(shapes[0]) != FEATURE_MAP or shapes[0][-1] not in GREY_OR_RGB:
        raise NetworkError(
            f"{backbone.name}: {backbone.source} takes {taken}: expected one input of images (height, width, 3), or "
            "(height, width, 1) for grey ones."
        )
    height, width = shapes[0][1:3]
    if height not in (None, size_px) or width not in (None, size_px):
        raise NetworkError(f"{backbone.name}: {backbone.source} takes {height} x {width} px, got {size_px} px.")
    dtype = str(network.inputs[0].dtype)
    if "float" not in dtype and backbone.native_mode != "raw":
        raise NetworkError(
            f"{backbone.name}: {backbone.source} takes pixels of type {dtype}, which cuts off fractions: only mode "
            f"raw can be right for it, not {backbone.native_mode}."
        )


def features_network(backbone: Backbone, network: Any, n_prefix: int = 1) -> Any:
    """The network up to its features, as one vector per image.

    Args:
        backbone: Says where to cut and how to pool.
        network: A Keras model; its layers are shared.
        n_prefix: How many tokens come before those of the image's patches, where it gives tokens.

    Raises:
        NetworkError: Its output is a classifier's, is not one tensor, or cannot be pooled so.
        UnknownNameError: It has no layer of that name.
    """
    import keras

    if isinstance(network, keras.Sequential):  # it does not show its graph
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    if backbone.cut is not None:
        check_known(f"layer of {backbone.name}", backbone.cut, [layer.name for layer in network.layers])
        network = keras.Model(network.inputs[0], network.get_layer(backbone.cut).output, name=network.name)
    if len(network.outputs) != 1:
        names = ", ".join(str(one.name) for one in network.outputs)
        raise NetworkError(
            f"{backbone.name}: {backbone.source} has {len(network.outputs)} outputs ({names}): name the layer whose "
            'output are the features, cut = "LAYER".'
        )
    if backbone.cut is None and (backbone.builder or backbone.model):
        _refuse_classifier(backbone, network)
    return keras.Model(network.inputs[0], _pool(backbone, network.outputs[0], n_prefix), name=network.name)


def _refuse_classifier(backbone: Backbone, network: Any) -> None:
    """Refuse scores of classes: they say much less than the features before them, and nobody would notice."""
    steps = _innermost_steps(network)
    last = next((step for step in reversed(steps) if not _passes_on(step)), steps[-1])
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    kind = type(last).__name__
    is_score = activation in OF_CLASSIFIERS or kind in ("Softmax", "Sigmoid", "LogSoftmax")
    if not is_score and (kind, activation) != ("Dense", "linear"):
        return
    said = f"{backbone.name}: {backbone.source} ends in {last.name} ({kind} {activation}".rstrip() + "), "
    said += "a classifier" if is_score else "which may be a classifier"
    if steps[-1] not in _steps(network):
        raise NetworkError(f"{said} inside another model: save or return the model that ends before it.")
    weighted = max((place for place, step in enumerate(steps) if getattr(step, "weights", ())), default=0)
    before = steps[weighted - 1].name if weighted > 1 else "LAYER"
    meant = "" if is_score else f', or cut = "{last.name}" if these {network.outputs[0].shape[-1]} numbers are meant'
    raise NetworkError(f'{said}: name the layer whose output is the features, cut = "{before}"{meant}.')


def _steps(network: Any) -> list[Any]:
    """The layers and operations of a network, the output's last."""
    return list(getattr(network, "operations", None) or network.layers)


def _innermost_steps(network: Any) -> list[Any]:
    steps = _steps(network)
    return _innermost_steps(steps[-1]) if getattr(steps[-1], "layers", None) else steps


def _passes_on(step: Any) -> bool:
    """Whether it gives the numbers that it takes, perhaps in another shape."""
    kind = type(step).__name__
    is_linear = getattr(getattr(step, "activation", None), "__name__", "") == "linear"
    return kind in ("Flatten", "Reshape", "Dropout", "Identity") or (kind == "Activation" and is_linear)


def _pool(backbone: Backbone, output: Any, n_prefix: int) -> Any:
    from keras import layers, ops

    rank, how = len(output.shape), backbone.pooling
    pools: dict[tuple[int, str | None], Any] = {
        (VECTOR, None): lambda: lambda vectors: vectors,
        **({(VECTOR, "embedding"): lambda: lambda vectors: vectors} if backbone.hub else {}),
        (TOKENS, "avg"): layers.GlobalAveragePooling1D,
        (TOKENS, "max"): layers.GlobalMaxPooling1D,
        (TOKENS, "tokens"): lambda: lambda tokens: ops.mean(tokens[:, n_prefix:], axis=1),
        **({(TOKENS, "cls"): lambda: lambda tokens: tokens[:, 0]} if n_prefix else {}),
        (FEATURE_MAP, None): layers.GlobalAveragePooling2D,
        (FEATURE_MAP, "avg"): layers.GlobalAveragePooling2D,
        (FEATURE_MAP, "max"): layers.GlobalMaxPooling2D,
    }
    if (rank, how) not in pools or output.shape[-1] is None:
        fitting = [f'"{name}"' for one, name in pools if one == rank and name]
        raise NetworkError(
            f"{backbone.name}: {backbone.source} gives {tuple(output.shape[1:])} per image"
            + (f', which pooling = "{how}" does not make one vector: ' if how else ", not one vector: ")
            + (
                f"give pooling = {' or '.join(fitting)}."
                if fitting
                else 'leave pooling out, or cut = "LAYER" elsewhere.'
            )
        )
    return pools[rank, how]()(output)
