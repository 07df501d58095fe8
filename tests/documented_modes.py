"""What Keras documents of the preprocessing of its networks, and what follows from it for every mode; no test."""

import numpy as np

from benchmark.xray.verdicts import DOUBLE_SCALED, NOT_SCALED, RIGHT, SAME, SHIFTED, SWAPPED

# What Keras's documentation says of each constructor: the mode of its preprocess_input.
FAMILIES = {
    "caffe": "ResNet50 ResNet101 ResNet152 VGG16 VGG19",
    "tf": (
        "ResNet50V2 ResNet101V2 ResNet152V2 MobileNet MobileNetV2 InceptionV3 InceptionResNetV2 Xception "
        "NASNetMobile NASNetLarge"
    ),
    "torch": "DenseNet121 DenseNet169 DenseNet201",
    "raw": (
        "MobileNetV3Small MobileNetV3Large EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4 "
        "EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 "
        "EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L ConvNeXtTiny ConvNeXtSmall ConvNeXtBase "
        "ConvNeXtLarge ConvNeXtXLarge"
    ),
}
NATIVE_OF = {name: native for native, names in FAMILIES.items() for name in names.split()}

R, S, D, N, C, M = (RIGHT,), (SAME,), (DOUBLE_SCALED,), (NOT_SCALED,), (SWAPPED,), (SHIFTED,)
# Verdict and further findings of every mode for a network of every native mode, written by hand.
EXPECTED = {
    "caffe": {
        "native": R, "unit": D + C, "raw": C + M, "tf": D + C, "caffe": S, "torch": D + C, "double": D, "bgr": C,
    },
    "tf": {"native": R, "unit": M, "raw": N, "tf": S, "caffe": N + C, "torch": M, "double": D, "bgr": C},
    "torch": {"native": R, "unit": M, "raw": N, "tf": M, "caffe": N + C, "torch": S, "double": D, "bgr": C},
    "raw": {"native": R, "unit": D, "raw": S, "tf": D, "caffe": C + M, "torch": D, "double": D, "bgr": C},
    "unit": {"native": R, "unit": S, "raw": N, "tf": M, "caffe": N + C, "torch": M, "double": D, "bgr": C},
}  # fmt: skip

# What stands before the first convolution of networks whose preprocess_input does nothing, as Keras documents it.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BUILT_IN = {
    "nothing": (np.ones(3), np.zeros(3)),
    "Rescaling(1/127.5, -1)": (np.full(3, 1 / 127.5), -np.ones(3)),
    "Rescaling(1/128, -1)": (np.full(3, 1 / 128), -np.ones(3)),
    "Rescaling(1/255)": (np.full(3, 1 / 255), np.zeros(3)),
    "ImageNet statistics": (1 / 255 / DEVIATION, -MEAN / DEVIATION),
}


def documented(native: str, pixels: np.ndarray) -> np.ndarray:
    """`preprocess_input` of that mode, by the formula in Keras's documentation, on pixels `(n, 3)` in 0..255."""
    if native == "caffe":
        return pixels[:, [2, 1, 0]] - np.array([103.939, 116.779, 123.68])
    if native == "torch":
        return (pixels / 255 - MEAN) / DEVIATION
    return {"tf": pixels / 127.5 - 1, "raw": pixels, "unit": pixels / 255}[native]


def fed(mode: str, native: str, pixels: np.ndarray) -> np.ndarray:
    """What a user who chooses the mode feeds."""
    if mode == "double":
        return documented(native, pixels / 255)
    if mode == "bgr":
        return documented(native, pixels[:, [2, 1, 0]])
    return documented(native if mode == "native" else mode, pixels)
