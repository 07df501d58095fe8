"""Small presets of KerasHub, one of each family with an image encoder, written as its users write them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 32
# mean and deviation of CLIP
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardising(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    """The arguments of a converter."""
    return {
        "scale": [1 / (255 * one) for one in std],
        "offset": [-one / other for one, other in zip(mean, std, strict=True)],
    }


TORCH, CLIP = standardising(TORCH_MEAN, TORCH_STD), standardising(CLIP_MEAN, CLIP_STD)
TF = {"scale": 1 / 127.5, "offset": -1.0}
UNIT = {"scale": 1 / 255.0}


def _text(models: Any, family: str) -> Any:
    kind = getattr(models, f"{family}TextEncoder")
    return kind(
        vocabulary_size=64, embedding_dim=16, hidden_dim=16, num_layers=1, num_heads=2, intermediate_dim=16,
        max_sequence_length=8,
    )  # fmt: skip


def _vision(models: Any, family: str) -> Any:
    kind = getattr(models, f"{family}VisionEncoder")
    return kind(
        patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32, image_shape=(SIDE, SIDE, 3)
    )


def _transformer(**others: Any) -> dict[str, Any]:
    return {"image_shape": (SIDE, SIDE, 3), "patch_size": 8, "num_layers": 2, "hidden_dim": 16, "num_heads": 2} | others


# Of each family: its network, and what its converter does to pixels.
FAMILIES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "CLIP": (
        lambda models: models.CLIPBackbone(_vision(models, "CLIP"), _text(models, "CLIP"), projection_dim=12),
        CLIP,
    ),
    "CSPNet": (
        lambda models: models.CSPNetBackbone(
            stem_filters=8, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 1], stackwise_strides=[1, 2],
            stackwise_num_filters=[8, 16], block_type="dark_block",
            stage_type="dark",
        ),
        UNIT,
    ),
    "DINOV2": (
        lambda models: models.DINOV2Backbone(
            **_transformer(intermediate_dim=32, num_register_tokens=2, position_embedding_shape=(SIDE, SIDE, 3))
        ),
        TORCH,
    ),
    "DINOV3": (
        lambda models: models.DINOV3Backbone(**_transformer(intermediate_dim=32, num_register_tokens=3)),
        TORCH,
    ),
    "DeiT": (lambda models: models.DeiTBackbone(**_transformer(intermediate_dim=32)), TORCH),
    "DenseNet": (lambda models: models.DenseNetBackbone(stackwise_num_repeats=[1, 1], growth_rate=8), TORCH),
    "EfficientNet": (
        lambda models: models.EfficientNetBackbone(
            stackwise_width_coefficients=[0.5, 0.5], stackwise_depth_coefficients=[1.0, 1.0],
            stackwise_kernel_sizes=[3, 3], stackwise_num_repeats=[1, 1], stackwise_input_filters=[16, 16],
            stackwise_output_filters=[16, 24], stackwise_expansion_ratios=[1, 2],
            stackwise_squeeze_and_excite_ratios=[0.25, 0.25], stackwise_strides=[1, 2],
            stackwise_block_types=["v1", "v1"],
        ),
        TORCH,
    ),
    "HGNetV2": (
        lambda models: models.HGNetV2Backbone(
            depths=[1, 1], embedding_size=8, hidden_sizes=[16, 24], stem_channels=[3, 8, 8], hidden_act="relu",
            use_learnable_affine_block=False, stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 24, 1, 1, 3)],
            apply_downsample=[False, True], use_lightweight_conv_block=[False, False],
        ),
        TORCH,
    ),
    "MetaCLIP2": (
        lambda models: models.MetaCLIP2Backbone(
            _vision(models, "MetaCLIP2"), _text(models, "MetaCLIP2"), projection_dim=12
        ),
        CLIP,
    ),
    "MiT": (
        lambda models: models.MiTBackbone(
            layerwise_depths=[1, 1], num_layers=2, layerwise_num_heads=[1, 2], layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.0, layerwise_patch_sizes=[7, 3], layerwise_strides=[4, 2], hidden_dims=[8, 16],
            image_shape=(SIDE, SIDE, 3),
        ),
        TORCH,
    ),
    "MobileNet": (
        lambda models: models.MobileNetBackbone(
            stackwise_expansion=[[16], [24]], stackwise_num_blocks=[1, 1], stackwise_num_filters=[[8], [16]],
            stackwise_kernel_size=[[3], [3]], stackwise_num_strides=[[2], [2]], stackwise_se_ratio=[[None], [0.25]],
            stackwise_activation=[["relu"], ["hard_swish"]], stackwise_padding=[[1], [1]], output_num_filters=32,
            input_activation="hard_swish", output_activation="hard_swish", input_num_filters=8, depthwise_filters=8,
            depthwise_stride=2, depthwise_residual=False, squeeze_and_excite=0.5, last_layer_filter=32,
        ),
        TORCH,
    ),
    "MobileNetV5": (
        lambda models: models.MobileNetV5Backbone(
            stackwise_block_types=[["er"], ["uir"]], stackwise_num_blocks=[1, 1], stackwise_num_filters=[[8], [16]],
            stackwise_strides=[[2], [2]], stackwise_act_layers=[["relu"], ["relu"]],
            stackwise_exp_ratios=[[2.0], [2.0]], stackwise_se_ratios=[[0.0], [0.0]],
            stackwise_dw_kernel_sizes=[[0], [3]],
            stackwise_dw_start_kernel_sizes=[[0], [0]], stackwise_dw_end_kernel_sizes=[[0], [0]],
            stackwise_exp_kernel_sizes=[[3], [0]], stackwise_pw_kernel_sizes=[[1], [0]], stackwise_num_heads=[[0], [0]],
            stackwise_key_dims=[[0], [0]], stackwise_value_dims=[[0], [0]], stackwise_kv_strides=[[0], [0]],
            stackwise_use_cpe=[[False], [False]], use_msfa=False, stem_size=8,
        ),
        UNIT,
    ),
    "ResNet": (
        lambda models: models.ResNetBackbone(
            input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[1, 1], stackwise_num_strides=[1, 2], block_type="basic_block",
        ),
        TORCH,
    ),
    "SigLIP": (
        lambda models: models.SigLIPBackbone(_vision(models, "SigLIP"), _text(models, "SigLIP")),
        TF,
    ),
    "SwinTransformer": (
        lambda models: models.SwinTransformerBackbone(
            image_shape=(SIDE, SIDE, 3), embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4
        ),
        TORCH,
    ),
    "VGG": (
        lambda models: models.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16]),
        TORCH,
    ),
    "ViT": (lambda models: models.ViTBackbone(**_transformer(mlp_dim=32)), TF),
    "Xception": (
        lambda models: models.XceptionBackbone(
            stackwise_conv_filters=[[8, 16], [16, 16]], stackwise_pooling=[True, False]
        ),
        TF,
    ),
}  # fmt: skip


def write_preset(family: str, folder: Path, **of_converter: Any) -> Path:
    """A preset of a family with random weights; `of_converter` are further arguments of its image converter."""
    import keras
    import keras_hub

    build, pixels = FAMILIES[family]
    keras.utils.set_random_seed(1)
    network = build(keras_hub.models)
    # Networks at their start often give all images nearly the same features.
    larger = (one * 1.5 if one.ndim > 1 and one.dtype.kind == "f" else one for one in network.get_weights())
    network.set_weights(list(larger))
    network.save_to_preset(str(folder))
    kind = getattr(keras_hub.layers, f"{family}ImageConverter")
    kind(**{"image_size": (SIDE, SIDE), **pixels, **of_converter}).save_to_preset(str(folder))
    return folder
