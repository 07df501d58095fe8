"""Registry entries of one's own, checked before the run against Keras and against their networks."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.backbones.builders import BuilderError
from benchmark.backbones.identity import layer_with_own_weights, network_sha256
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.options import DenseOptions
from benchmark.plan.cells import Cell, DatasetRequest
from benchmark.plan.planned import PlannedCell
from benchmark.registry import Backbone
from benchmark.work.rows import new_row
from benchmark.work.running import CellRunner
from benchmark.xray.entries import Found, Use, examine_all

pytestmark = pytest.mark.slow

BUILDERS = """
import keras
import numpy as np


def plain(input_shape, filters=4, **options):
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(filters, 3, **options)(images))


def wider(input_shape):
    return plain(input_shape, filters=5)


def strided(input_shape):
    return plain(input_shape, strides=2)


def trained(input_shape):
    network = plain(input_shape)
    network.set_weights([np.full_like(array, 0.5) + np.arange(array.size).reshape(array.shape) for array in
                         network.get_weights()])
    return network


def frozen(input_shape):
    images = keras.Input(input_shape)
    inner = trained(input_shape)
    inner.trainable = False
    return keras.Model(images, keras.layers.Conv2D(6, 1)(inner(images)))


def normalised(input_shape):
    images = keras.Input(input_shape)
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng(0).uniform(0, 255, (8, *input_shape)))
    return keras.Model(images, keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(norm(images))))


def restless(input_shape):
    network = plain(input_shape)
    network.set_weights([np.random.default_rng().normal(size=array.shape) for array in network.get_weights()])
    return network


class Scale(keras.layers.Layer):
    FACTOR = 2

    def call(self, x):
        return self.FACTOR * x


def custom(input_shape):
    images = keras.Input(input_shape)
    x = keras.layers.Lambda(lambda pixels: pixels + 1)(Scale()(images))
    return keras.Model(images, keras.layers.Conv2D(4, 3)(x))


def rescaling(input_shape):
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 127.5, -1)(images)))


def half(input_shape):
    return plain(input_shape, dtype="mixed_bfloat16")


def grey(input_shape):
    return plain((*input_shape[:2], 1))


def classifier(input_shape, n_classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),
                             keras.layers.Dense(n_classes, activation="softmax")])


def logits(input_shape, n_classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(n_classes)])


def two_classes(input_shape, n_classes):
    return classifier(input_shape, 2)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entries")
    (path / "entry_networks.py").write_text(BUILDERS)
    return path


def use(folder: Path, function: str = "", **options: Any) -> Use:
    usual = {"n_channels": 3, "n_classes": 3, "draws_weights": False, "is_trained": False, "steps": frozenset({"tf"})}
    uses = {key: options.pop(key) for key in list(options) if key in usual}
    network = {"builder": f"entry_networks:{function}"} if function else {}
    facts = {"name": "Mine", "folder": folder, "mode": "tf", "input_size_px": 16, **network, **options}
    return Use(backbone=Backbone(**facts), size_px=facts["input_size_px"], **{**usual, **uses})


def identity(folder: Path, function: str, **options: Any) -> str:
    (found,) = examine_all([use(folder, function, **options)])
    return found.sha256


# Identity


def test_a_network_keeps_its_identity_whatever_was_built_before_it(folder):
    alone = identity(folder, "plain")

    together = examine_all([use(folder, name) for name in ("wider", "plain", "custom", "plain")])

    assert len(alone) == 64
    assert together[1].sha256 == together[3].sha256 == alone


def test_networks_that_differ_in_anything_have_different_identities(folder):
    names = ("plain", "wider", "strided", "trained", "frozen", "normalised", "custom", "half", "grey")

    found = examine_all([use(folder, name) for name in names])

    assert len({one.sha256 for one in found}) == len(names)


@pytest.mark.parametrize(
    ("old", "new"), [("FACTOR = 2", "FACTOR = 3"), ("pixels + 1", "pixels + 2"), ("return self.FACTOR * x", "return x")]
)
def test_the_code_of_a_layer_of_ones_own_is_part_of_the_identity(tmp_path, old, new):
    found = []
    for number, text in enumerate((BUILDERS, BUILDERS.replace(old, new), "\n\n" + BUILDERS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "coded_networks.py").write_text(text)
        sys.modules.pop("coded_networks", None)
        found += examine_all([use(folder, builder="coded_networks:custom")])

    assert found[0] != found[1]
    assert found[0] == found[2], "two empty lines changed it"


def test_the_identity_changes_with_one_weight(folder):
    import keras

    keras.utils.clear_session()
    images = keras.Input((4, 4, 3))
    network = keras.Model(images, keras.layers.Conv2D(2, 1)(images))
    before = network_sha256(network)
    kernel, bias = network.get_weights()
    kernel[0, 0, 0, 0] += 1e-6
    network.set_weights([kernel, bias])

    assert network_sha256(network) != before


def test_a_builder_that_follows_no_seed_is_refused(folder):
    with pytest.raises(ConfigError, match=r"Mine: builder 'entry_networks:restless' makes another network each time"):
        identity(folder, "restless")


def test_shipped_networks_and_applications_have_no_identity_beside_their_entry(folder):
    lenet = use(
        folder, builder="benchmark.backbones.networks:lenet5", weights="random", has_classifier=True, mode="unit",
        input_size_px=28, steps=frozenset({"unit"}),
    )  # fmt: skip

    assert examine_all([lenet]) == [Found("", "")]


def test_a_builder_that_changed_after_the_plan_ends_its_cell(folder):
    """Its rows would have the key of the network that was planned."""
    backbone = use(folder, "plain").backbone
    cell = Cell(
        backbone=backbone, dataset=DatasetRequest("digits", 200), mode="native", strategy="probe", head="ridge", seed=0,
        input_size_px=16, resize="bilinear", crop="squash",
        engine="tensorflow", precision="float32", val_fraction=0.2, dense=DenseOptions(),
        network_sha256=identity(folder, "wider"),
    )  # fmt: skip
    planned = PlannedCell(cell, "key", "missing")

    with pytest.raises(BuilderError, match="changed after this sweep was planned"):
        CellRunner(cell, lambda _: None).run(planned, new_row(planned, datetime.now().astimezone()))


# Whose weights


@pytest.mark.parametrize("function", ["trained", "frozen"])
@pytest.mark.parametrize("options", [{"weights": "random"}, {"draws_weights": True}], ids=["random", "scratch"])
def test_weights_that_a_builder_brings_are_not_called_random_and_not_trained_from_scratch(folder, function, options):
    asked = 'weights = "random"' if "weights" in options else "strategy scratch"

    with pytest.raises(ConfigError, match=rf"Mine: {asked} needs weights .*kernel is the same for two seeds"):
        identity(folder, function, **{"draws_weights": True, **options})


@pytest.mark.parametrize("function", ["plain", "normalised", "custom"])
def test_weights_that_each_seed_draws_may_be_random(folder, function):
    assert identity(folder, function, weights="random", draws_weights=True)


@pytest.mark.parametrize("function", ["plain", "trained"])
def test_a_builder_without_weights_may_bring_them_or_not(folder, function):
    assert identity(folder, function)


def test_arrays_with_which_layers_begin_are_no_weights_of_their_own():
    import keras

    def network(value: float) -> Any:
        keras.utils.clear_session()
        made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="dense")])
        made.set_weights([np.eye(4), np.full(4, value)])
        return made

    assert layer_with_own_weights(network(0), network(0)) == ""


# Facts


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"preprocess": "os"}, "preprocess: Unknown module of keras.applications 'os'"),
        (
            {"preprocess": "resnet"},
            'mode = "tf", but preprocess_input of keras.applications.resnet is caffe: correct one of mode and',
        ),
        ({"feature_dim": 5}, "feature_dim = 5, but its network has 4: correct it or leave it out"),
        ({"params_backbone": 7}, "params_backbone = 7, but its network has 112"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_entry_that_contradicts_keras_or_its_network_is_refused(folder, facts, complaint):
    with pytest.raises(ConfigError, match=f"^Mine: {complaint}"):
        identity(folder, "plain", **facts)


def test_an_entry_whose_facts_are_right_is_taken(folder):
    assert identity(folder, "plain", preprocess="mobilenet_v2", feature_dim=4, params_backbone=112)


def test_a_network_that_cannot_be_built_at_a_size_is_named_with_it(folder):
    with pytest.raises(BenchmarkError, match=r"Mine: builder .* failed: ValueError"):
        identity(folder, "plain", input_size_px=2)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")
@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"application": "MobileNet", "alpha": 0.25, "feature_dim": 256}, ""),
        ({"application": "MobileNet", "alpha": 0.25, "feature_dim": 512}, "feature_dim = 512, but its network has 256"),
        ({"application": "MobileNetV3Small", "minimalistic": True, "mode": "raw"}, ""),
        (
            {"application": "ResNet50", "alpha": 0.5, "mode": "caffe"},
            "keras.applications.ResNet50 does not take alpha; of .* it takes none",
        ),
        (
            {"application": "MobileNetV3Small", "depth_multiplier": 2, "mode": "raw"},
            "does not take depth_multiplier; of .* it takes alpha, minimalistic, include_preprocessing",
        ),
        ({"application": "MobileNetV3Small", "include_preprocessing": False, "mode": "tf"}, ""),
        (
            {"application": "MobileNetV3Small", "include_preprocessing": False, "mode": "raw"},
            'mode = "raw", but what include_preprocessing = false leaves out is tf: correct mode',
        ),
        ({"application": "ResNet5O", "mode": "caffe"}, "Unknown application 'ResNet5O'"),
    ],
)
def test_arguments_of_a_constructor_are_checked_against_keras(folder, facts, complaint):
    record = use(folder, weights="random", input_size_px=32, **facts)

    if complaint:
        with pytest.raises(BenchmarkError, match=complaint):
            examine_all([record])
    else:
        assert examine_all([record]) == [Found("", "")]


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")
@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"builder": "entry_networks:rescaling", "mode": "tf"}, "raw"),
        ({"builder": "entry_networks:rescaling", "mode": "caffe"}, "raw"),
        ({"builder": "entry_networks:rescaling", "mode": "raw"}, ""),
        ({"builder": "entry_networks:normalised", "mode": "unit"}, "raw"),
        ({"builder": "entry_networks:normalised", "mode": "raw"}, ""),
        ({"builder": "entry_networks:plain", "mode": "caffe"}, ""),
        ({"builder": "entry_networks:grey", "mode": "tf"}, ""),
        ({"application": "MobileNetV3Small", "mode": "tf", "input_size_px": 32}, "raw"),
        ({"application": "MobileNetV2", "mode": "tf", "input_size_px": 32}, ""),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_the_layers_of_a_network_show_the_mode_that_it_was_made_for(folder, facts, shown):
    (found,) = examine_all([use(folder, weights="random", **facts)])

    assert found.shown_mode == shown


ENTRY = '[Mine]\napplication = "MobileNetV3Small"\ninput_size_px = 32\n'


def test_a_sweep_warns_of_a_mode_that_the_layers_contradict(program, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(f'{ENTRY}mode = "tf"\n')

    answer = program(tmp_path, "run", "--registry", "mine.toml", "--backbones", "Mine", "--dry-run")

    assert answer.returncode == 0
    assert (
        "Warning: mode native is not what Mine was trained with (double-scaled): its own layers are made for raw"
        in (" ".join(answer.stderr.split()))
    )


@pytest.mark.parametrize(
    "fact", ['preprocess = "os"\nmode = "raw"', 'preprocess = "resnet"\nmode = "raw"', 'feature_dim = 7\nmode = "raw"']
)
def test_a_wrong_fact_ends_a_sweep_before_it_runs_with_exit_code_2(program, tmp_path: Path, fact: str):
    (tmp_path / "mine.toml").write_text(f"{ENTRY}{fact}\n")

    answer = program(tmp_path, "run", "--registry", "mine.toml", "--backbones", "Mine")

    assert answer.returncode == 2
    assert answer.stderr.startswith("Error: Mine: ")
    assert not (tmp_path / "results").exists()


# What a sweep does with it


@pytest.mark.parametrize("function", ["classifier", "logits", "two_classes"])
def test_a_network_with_its_own_classifier_gives_one_probability_per_class(folder, function):
    options = {"weights": "random", "has_classifier": True, "draws_weights": True, "n_channels": 1}

    if function == "classifier":
        assert identity(folder, function, **options)
    else:
        with pytest.raises(ConfigError, match=r"has_classifier = true promises 3 probabilities \(softmax\) of images"):
            identity(folder, function, **options)


def test_a_network_that_computes_in_less_than_float32_is_probed_but_not_trained(folder):
    assert identity(folder, "half")
    with pytest.raises(
        BenchmarkError, match=r"its layer conv2d computes in bfloat16, and strategies finetune and scratch"
    ):
        identity(folder, "half", is_trained=True)


@pytest.mark.parametrize("step", ["caffe", "torch", "swap"])
def test_a_network_of_grey_images_takes_no_mode_of_colours(folder, step):
    assert identity(folder, "grey", steps=frozenset({"unit", "raw", "tf"}))
    with pytest.raises(BenchmarkError, match=rf"takes grey images, for which {step} has no meaning"):
        identity(folder, "grey", steps=frozenset({"tf", step}))
