"""Presets of KerasHub, one small one of each family with an image encoder, against KerasHub itself. No network."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toy_presets
from documented_modes import EXPECTED
from PIL import Image
from sampling import sampled
from toy_presets import SIDE, write_preset

from benchmark import presets, run
from benchmark.backbones.build import build_backbone, build_untrained, build_whole
from benchmark.datasets.resizing import resize
from benchmark.errors import BenchmarkError, ConfigError, DownloadError, UnknownNameError
from benchmark.preprocessing import Normalisation, View, apply_steps, resolve_mode
from benchmark.presets import FAMILIES, preset_identity, read_preset
from benchmark.registry import Backbone, load_registry, read_registry
from benchmark.xray.verdicts import SHIFTED
from benchmark.xray.xray import xray_backbone

pytestmark = pytest.mark.slow  # it imports KerasHub

NAMES = list(toy_presets.FAMILIES)
# With a class token, a vision tower, of windows, and of convolutions.
FEW = ("ViT", "SigLIP", "SwinTransformer", "MobileNet")
# What the documentation of each family takes as its features.
CLASS_TOKEN = {"ViT", "DeiT", "DINOV2", "DINOV3"}
VISION_TOWER = {"CLIP", "MetaCLIP2", "SigLIP"}
# Tokens before those of the patches: a class token, one of distillation, registers.
PREFIX = {"ViT": 1, "DeiT": 2, "DINOV2": 3, "DINOV3": 4, "SwinTransformer": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a preset of each family."""
    place = tmp_path_factory.mktemp("presets")
    for family in NAMES:
        write_preset(family, place / family)
    return place


@pytest.fixture(scope="module", autouse=True)
def _asked_in_this_process() -> Any:
    """KerasHub is imported here anyway; a child process of its own for each preset would take ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "call_silently_in_child", lambda function, *arguments: function(*arguments))
        yield


def entry(path: Path, **facts: Any) -> Backbone:
    own = {"name": "Mine", "folder": Path(), "hub": str(path), **facts}
    return Backbone(**{**read_preset(str(path), Path()).table, **own})


def reference(path: Path, family: str, images: np.ndarray, pool: Callable[[Any], Any] | None = None) -> np.ndarray:
    """The features of images as KerasHub gives them."""
    import keras_hub

    whole = keras_hub.models.Backbone.from_preset(str(path))
    pixels = keras_hub.layers.ImageConverter.from_preset(str(path))(images.astype(np.float32))
    if family in VISION_TOWER:
        return np.asarray(whole.get_vision_embeddings(pixels))
    output = whole({name: pixels for name in whole.input} if isinstance(whole.input, dict) else pixels)
    output = np.asarray(list(output.values())[-1] if isinstance(output, dict) else output)
    if pool is None:
        pool = (lambda x: x[:, 0]) if family in CLASS_TOKEN else (lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))))
    return np.asarray(pool(output))


def features(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    pixels = apply_steps(resolve_mode("native", backbone.native_mode), images.astype(np.float32))
    return np.asarray(build_backbone(backbone, SIDE)(np.asarray(pixels, np.float32), training=False))


# Features


def test_every_family_that_is_taken_has_a_small_preset_here():
    assert {f"{name}Backbone" for name in NAMES} == set(FAMILIES)
    assert len(NAMES) >= 12


@pytest.mark.parametrize("family", sampled(NAMES, FEW))
def test_features_are_those_of_keras_hub(folder, family, rng):
    images = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)

    found = features(entry(folder / family), images)

    expected = reference(folder / family, family, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3, "all images look alike to this network"


@pytest.mark.parametrize(("family", "n_prefix"), PREFIX.items())
def test_the_mean_of_tokens_leaves_out_those_that_are_no_patches(folder, family, n_prefix, rng):
    images = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)

    found = features(entry(folder / family, pooling="tokens"), images)

    expected = reference(folder / family, family, images, lambda tokens: tokens[:, n_prefix:].mean(axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_network_without_a_class_token_is_not_asked_for_it(folder):
    with pytest.raises(BenchmarkError, match=r'which pooling = "cls" does not make one vector: give pooling = "avg"'):
        build_backbone(entry(folder / "SwinTransformer", pooling="cls"), SIDE)


@pytest.mark.parametrize("family", ["DINOV3", "ResNet", "MobileNet"])
def test_a_family_that_takes_any_size_is_built_for_it(folder, family):
    assert build_backbone(entry(folder / family), 2 * SIDE).inputs[0].shape[1] in (None, 2 * SIDE)


def test_a_family_of_one_size_says_which(folder):
    with pytest.raises(ConfigError, match=f"takes images of {SIDE} px only, got 64 px"):
        build_backbone(entry(folder / "ViT"), 64)


def test_random_weights_are_another_draw(folder, rng):
    images = rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8).astype(np.float32)
    network = entry(folder / "ViT").with_random_weights()

    drawn = [np.asarray(build_untrained(network, SIDE, seed)(images)) for seed in (0, 0, 1)]

    assert np.array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


# What the image converter says


@pytest.mark.parametrize("family", sampled(NAMES, FEW))
def test_native_is_what_the_image_converter_does(folder, family, rng):
    import keras_hub

    converter = keras_hub.layers.ImageConverter.from_preset(str(folder / family))
    images = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8).astype(np.float32)
    backbone = entry(folder / family)

    found = apply_steps(resolve_mode("native", backbone.native_mode), images)

    np.testing.assert_allclose(found, converter(images), atol=1e-5)


def test_a_known_mode_is_called_by_its_name_and_another_is_a_normalisation(folder):
    modes = {family: read_preset(str(folder / family), Path()).mode for family in ("ViT", "DINOV2", "VGG", "CSPNet")}

    assert modes == {"ViT": "tf", "DINOV2": "torch", "VGG": "torch", "CSPNet": "unit"}
    clip = read_preset(str(folder / "CLIP"), Path()).mode
    assert isinstance(clip, Normalisation)
    np.testing.assert_allclose([clip.mean, clip.std], [toy_presets.CLIP_MEAN, toy_presets.CLIP_STD], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "resized", "crop"),
    [
        ({}, "bilinear", "crop"),
        ({"crop_to_aspect_ratio": False}, "bilinear", "squash"),
        ({"antialias": True, "interpolation": "bicubic"}, "bicubic-antialias", "crop"),
        ({"interpolation": "nearest"}, "nearest", "crop"),
    ],
)
def test_images_are_resized_and_cropped_as_the_converter_does_it(tmp_path, rng, options, resized, crop):
    """Ours are rounded to whole numbers, as they are kept; Pillow also cuts off what overshoots in between."""
    import keras_hub

    path = write_preset("VGG", tmp_path / "preset", **{"scale": None, "offset": None, **options})
    backbone = entry(path)
    assert backbone.usual_view == (resized, crop)
    photo = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)

    converter = keras_hub.layers.ImageConverter.from_preset(str(path))
    expected = np.asarray(converter(photo[np.newaxis].astype(np.float32)))[0]
    found = resize(Image.fromarray(photo), View(SIDE, resized, crop))

    distances = np.abs(found - np.clip(expected, 0, 255))
    assert np.mean(distances > 1) < 0.01
    assert distances.mean() < 0.4
    assert found.std() > 1


def test_a_converter_that_cannot_be_followed_is_refused_with_what_to_do(tmp_path):
    path = write_preset("VGG", tmp_path / "preset", crop_to_aspect_ratio=False, pad_to_aspect_ratio=True)

    with pytest.raises(ConfigError, match=r"pads images to squares.*mode, input_size_px and crop"):
        read_preset(str(path), Path())
    given = Backbone(name="Mine", folder=Path(), hub=str(path), mode="torch", input_size_px=32, crop="squash")
    assert given.usual_view == ("bilinear-antialias", "squash")


# Its own classifier


def write_classifier(folder: Path, n_classes: int, family: str = "ViT", **options: Any) -> Path:
    """A preset of a network with a classifier, written as KerasHub writes it."""
    import keras
    import keras_hub

    write_preset(family, folder)
    keras.utils.set_random_seed(2)
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    task = getattr(keras_hub.models, f"{family}ImageClassifier")(
        backbone=keras_hub.models.Backbone.from_preset(str(folder)),
        num_classes=n_classes,
        preprocessor=getattr(keras_hub.models, f"{family}ImageClassifierPreprocessor")(converter),
        **options,
    )
    task.save_to_preset(str(folder))
    return folder


# Those of logits and of probabilities, with layers before the last one, and with none.
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "ViT": {}, "ViT softmax": {"activation": "softmax"}, "MobileNet": {"num_features": 16}, "ResNet": {},
}  # fmt: skip


@pytest.mark.parametrize("classifier", sampled(CLASSIFIERS, ("ViT softmax", "MobileNet")))
def test_a_preset_classifies_as_keras_hub_does(tmp_path, rng, classifier):
    import keras_hub

    family, options = classifier.split()[0], CLASSIFIERS[classifier]
    path = write_classifier(tmp_path / "preset", 1000, family, **options)
    images = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    backbone = entry(path)
    pixels = apply_steps(resolve_mode("native", backbone.native_mode), images.astype(np.float32))

    found = np.asarray(build_whole(backbone, SIDE)(np.asarray(pixels, np.float32)))

    said = keras_hub.models.ImageClassifier.from_preset(str(path)).predict(images, verbose=0).astype(np.float64)
    if "activation" not in options:
        said = np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, said, atol=1e-5)


def test_a_classifier_of_other_classes_is_refused(tmp_path):
    path = write_classifier(tmp_path / "preset", 7)

    with pytest.raises(ConfigError, match=r"its classifier knows 7 classes, not ImageNet's 1000"):
        build_whole(entry(path), SIDE)


def test_a_preset_without_a_classifier_is_refused(folder):
    with pytest.raises(ConfigError, match=r"has no classifier|cannot be loaded"):
        build_whole(entry(folder / "DINOV2"), SIDE)


# Verdicts


@pytest.mark.parametrize("family", sampled(NAMES, FEW))
def test_every_mode_gets_the_verdict_that_its_converter_implies(folder, family):
    found = xray_backbone(entry(folder / family))

    # Statistics of its own are nearly those of ImageNet's "torch": only shifted against each other.
    native = found.native if isinstance(found.native, str) else "torch"
    expected = {mode: findings[0] for mode, findings in EXPECTED[native].items()}
    if not isinstance(found.native, str):
        expected["torch"] = SHIFTED
    assert {one.mode: one.verdict for one in found.modes} == expected
    assert found.native_source == "the preset's own image converter"
    assert not found.notes


def test_an_entry_that_contradicts_its_preset_is_judged_by_the_preset(folder):
    found = xray_backbone(entry(folder / "ViT", mode="caffe"))

    verdicts = {one.mode: one.verdict for one in found.modes}
    assert verdicts["tf"] == "right"
    assert verdicts["native"] == "not scaled"
    assert "preset is made for mode 'tf', not for 'caffe', which the registry names" in found.notes[0]


# Names and identities


def test_a_preset_needs_no_entry(folder):
    backbone = load_registry()[f"hub:{folder / 'SigLIP'}"]

    assert (backbone.native_mode, backbone.input_size_px, backbone.pooling) == ("tf", SIDE, "embedding")
    assert backbone.usual_view == ("bilinear", "crop")


def test_an_entry_of_a_preset_takes_what_it_does_not_give_and_only_when_it_is_asked_for(folder, tmp_path):
    file = tmp_path / "mine.toml"
    (tmp_path / "vit").symlink_to(folder / "ViT")
    file.write_text('[Mine]\nhub = "vit"\npooling = "tokens"\n\n[Gone]\nhub = "./gone"\n')

    registry = read_registry(file)

    assert list(registry) == ["Mine", "Gone"]
    assert (registry["Mine"].native_mode, registry["Mine"].pooling) == ("tf", "tokens")
    with pytest.raises(ConfigError, match=r"There is no folder .*gone: give the folder of a preset"):
        registry["Gone"]


def test_other_weights_are_another_identity(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "ViT", copy)
    same = preset_identity(str(copy), Path()) == preset_identity(str(folder / "ViT"), Path())
    with (copy / "model.weights.h5").open("ab") as file:
        file.write(b"more")

    assert same
    assert preset_identity(str(copy), Path()) != preset_identity(str(folder / "ViT"), Path())


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch):
    monkeypatch.setattr(presets, "can_reach", lambda _: True)

    with pytest.raises(UnknownNameError, match=r"'vit_base_patch16_224'.* vit_base_patch16_224_imagenet"):
        read_preset("vit_base_patch16_224", Path())


def test_a_preset_of_text_is_refused(tmp_path):
    import keras_hub

    bert = keras_hub.models.BertBackbone(64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    bert.save_to_preset(str(tmp_path / "bert"))

    with pytest.raises(ConfigError, match=r"cannot be loaded|no image encoder"):
        read_preset(str(tmp_path / "bert"), Path())


@pytest.mark.parametrize(
    ("preset", "host"),
    [
        ("dinov2_small", "www.kaggle.com"),
        ("kaggle://somebody/vit/keras/mine/1", "www.kaggle.com"),
        ("hf://somebody/mine", "huggingface.co"),
    ],
)
def test_without_a_network_a_preset_that_is_not_here_fails_at_once(monkeypatch, tmp_path, preset, host):
    for variable in ("KAGGLEHUB_CACHE", "HF_HUB_CACHE", "BENCHMARK_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(presets, "can_reach", lambda _: False)
    started = time.perf_counter()

    with pytest.raises(DownloadError, match=f"not on this machine, and {host} cannot be reached.*benchmark fetch"):
        read_preset(preset, Path())

    assert time.perf_counter() - started < 10


# Runs


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory) -> pd.DataFrame:
    results = tmp_path_factory.mktemp("results")
    return run(
        results=results,
        datasets="digits",
        backbones=[f"hub:{folder / family}" for family in ("ViT", "DINOV2", "SigLIP", "ResNet")],
        modes=["native", "unit", "bgr"],
        limit=400,
    )


def test_presets_run_like_any_backbone(runs):
    assert (runs["status"] == "done").all()
    native = runs[runs["mode"] == "native"]
    assert native["pooling"].tolist() == ["cls", "cls", "embedding", "avg"]
    assert (native["accuracy"] > 0.3).all()
    assert set(native["resize"]) == {"bilinear"}
    assert set(native["crop"]) == {"crop"}
    assert (native["weights"] == "preset").all()
    assert (native["params_backbone"] > 1000).all()


def test_the_classifier_of_a_preset_is_run_in_any_mode(tmp_path, rng):
    path = write_classifier(tmp_path / "preset", 1000)
    for wordnet_id in ("n01440764", "n02102040"):
        (tmp_path / "images" / wordnet_id).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / wordnet_id / f"{number}.png")

    rows = run(
        results=tmp_path, datasets=f"folder:{tmp_path / 'images'}", backbones=f"hub:{path}", strategies="classify",
        modes=["native", "raw"],
    )  # fmt: skip

    assert rows["status"].tolist() == ["done", "done"]
    assert rows["n_classes"].tolist() == [1000, 1000]
    assert rows["n_test"].tolist() == [6, 6]
    assert rows["log_loss"].nunique() == 2


def test_a_preset_is_fine_tuned_and_a_contradicting_entry_is_warned_of(folder, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(f'[Mine]\nhub = "{folder / "ViT"}"\nmode = "raw"\n')

    rows = run(
        results=tmp_path, registry=[file], datasets="digits", backbones="Mine", strategies=["probe", "finetune"],
        stages=[{"unfreeze": 0, "epochs": 1}, {"unfreeze": 1, "epochs": 1}], limit=300,
    )  # fmt: skip

    assert (rows["status"] == "done").all()
    assert rows["warning"].str.contains('its own preset is made for tf, the registry says mode = "raw"').all()
