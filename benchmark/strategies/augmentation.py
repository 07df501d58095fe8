"""Random changes of training images, by Keras's own layers."""

from typing import Any

from benchmark.options import Augmentation

FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}
FULL_RANGE = (0.0, 255.0)


def augmentation_layers(augmentation: Augmentation) -> list[Any]:
    """Layers from pixels `(n, height, width, channels)` float32 in 0..255 to changed ones of the same shape and range.

    They do nothing outside training. Pixels from outside the image repeat its border, since a black border would
    tell the network by how much an image was moved.
    """
    from keras import layers

    chosen = []
    if augmentation.flip != "none":
        chosen.append(layers.RandomFlip(FLIPS[augmentation.flip]))
    if augmentation.rotation:
        chosen.append(layers.RandomRotation(augmentation.rotation, fill_mode="nearest"))
    if augmentation.translation:
        shift = augmentation.translation
        chosen.append(layers.RandomTranslation(shift, shift, fill_mode="nearest"))
    if augmentation.zoom:
        chosen.append(layers.RandomZoom(augmentation.zoom, fill_mode="nearest"))
    if augmentation.brightness:
        chosen.append(layers.RandomBrightness(augmentation.brightness, value_range=FULL_RANGE))
    if augmentation.contrast:
        chosen.append(layers.RandomContrast(augmentation.contrast, value_range=FULL_RANGE))
    return chosen
