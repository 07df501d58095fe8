"""The image encoders of KerasHub's presets, as networks from pixels to a feature map, tokens or one vector."""

from typing import Any, NamedTuple

from benchmark.backbones.sources import PRESET
from benchmark.errors import ConfigError, is_out_of_memory
from benchmark.presets import loading, source_of
from benchmark.registry import Backbone

N_IMAGENET_CLASSES = 1000


class Encoder(NamedTuple):
    """An image encoder.

    Attributes:
        network: A Keras model of one input of images and one output.
        n_prefix: How many of its tokens come before those of the image's patches: class, distillation and registers.
    """

    network: Any
    n_prefix: int


def build_encoder(backbone: Backbone, size_px: int) -> Encoder:
    """The image encoder of a preset, with the weights of the preset or random ones.

    Raises:
        ConfigError: KerasHub cannot load it, or it takes images of another size only.
        DownloadError: Its files are not here and cannot be downloaded.
    """
    import keras
    import keras_hub

    assert backbone.hub is not None
    source = source_of(backbone.hub, backbone.folder)
    has_weights = backbone.weights == PRESET
    with loading(source):
        whole = keras_hub.models.Backbone.from_preset(source, load_weights=has_weights)
    shape = _image_shape(whole)
    if set(shape[:2]) not in ({size_px}, {None}):
        whole = _resized(backbone, whole, (size_px, size_px, shape[2]), source, load_weights=has_weights)
    if hasattr(whole, "get_vision_embeddings"):
        images = keras.Input(_image_shape(whole), name="images")
        return Encoder(keras.Model(images, whole.get_vision_embeddings(images), name=whole.name), 0)
    # Families that give a map after each stage name them in their order.
    outputs = list(whole.output.values()) if isinstance(whole.output, dict) else whole.outputs
    return Encoder(keras.Model(whole.inputs[0], outputs[-1], name=whole.name), _n_prefix(whole))


def build_classifier(backbone: Backbone, size_px: int) -> Any:
    """The network of a preset with its own classifier, from images to probabilities of ImageNet's 1,000 classes.

    Raises:
        ConfigError: The preset has no such classifier, or takes images of another size only.
        DownloadError: Its files are not here and cannot be downloaded.
    """
    import keras
    import keras_hub

    assert backbone.hub is not None
    source = source_of(backbone.hub, backbone.folder)
    with loading(source):
        task = keras_hub.models.ImageClassifier.from_preset(source, load_weights=backbone.weights == PRESET)
    shape, outputs = tuple(task.inputs[0].shape[1:]), task.outputs[0]
    if outputs.shape[-1] != N_IMAGENET_CLASSES:
        raise ConfigError(
            f"{backbone.name}: its classifier knows {outputs.shape[-1]} classes, not ImageNet's {N_IMAGENET_CLASSES}: "
            "choose another preset, or strategy probe."
        )
    if set(shape[:2]) not in ({size_px}, {None}):
        raise ConfigError(_of_one_size(backbone, shape[0], size_px))
    # Classifiers without a choice of activation end in logits.
    activation = keras.activations.get(getattr(task, "activation", None))
    if activation is not keras.activations.softmax:
        outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(outputs)
    return keras.Model(task.inputs[0], outputs, name=task.name)


def _of_one_size(backbone: Backbone, only_px: int | None, size_px: int | None) -> str:
    return (
        f"{backbone.name} takes images of {only_px} px only, got {size_px} px: leave --input-size out, or give "
        f"{only_px}."
    )


def _image_shape(whole: Any) -> tuple[int | None, ...]:
    """Height, width and channels of the images; those of a vision tower beside one of text."""
    tower = getattr(whole, "vision_encoder", whole)
    return tuple(tower.inputs[0].shape[1:])


def _resized(backbone: Backbone, whole: Any, shape: tuple[int | None, ...], source: str, *, load_weights: bool) -> Any:
    """The encoder for images of another size, where its family can change it: by interpolated positions, for example.

    Raises:
        ConfigError: It cannot.
    """
    import keras_hub

    try:
        return keras_hub.models.Backbone.from_preset(source, load_weights=load_weights, image_shape=shape)
    except Exception as error:  # each family has its own
        if is_out_of_memory(error):
            raise
        raise ConfigError(_of_one_size(backbone, _image_shape(whole)[0], shape[0])) from error


def _n_prefix(whole: Any) -> int:
    kind = type(whole).__name__
    if kind == "DeiTBackbone":
        return 2
    if kind in ("DINOV2Backbone", "DINOV3Backbone"):
        return 1 + int(whole.num_register_tokens)
    return int(getattr(whole, "use_class_token", False))
