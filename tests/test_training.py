"""Training in stages: the same numbers whether interrupted or not, from cached activations or through the whole."""

from pathlib import Path

import keras
import numpy as np
import pytest

from benchmark.datasets import ArrayImages, Split
from benchmark.features.engines import TENSORFLOW, CompiledNetwork
from benchmark.features.graph import FrozenNetwork
from benchmark.options import Augmentation, DenseOptions, Stage
from benchmark.preprocessing import View
from benchmark.strategies.checkpoint import values_of
from benchmark.strategies.classifier import Classifier, Cut
from benchmark.strategies.dense import dense_layers
from benchmark.strategies.finetune import Pixels, run_training
from benchmark.strategies.outcome import DivergedError, Outcome
from benchmark.strategies.stages import Task

pytestmark = pytest.mark.slow

SIZE_PX = 8
VIEW = View(SIZE_PX, "bilinear", "squash", ("unit",))
N = 90
CLASS_NAMES = ("dark", "grey", "bright")
TWO_STAGES = (
    Stage(unfreeze=0, epochs=3, batch_size=16),
    Stage(unfreeze=2, epochs=3, batch_size=16, learning_rate=1e-2),
)


class KilledError(Exception):
    """Stands for a kill."""


def make_classifier(*, dropout: float = 0.3, is_pretrained: bool = True) -> Classifier:
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="low")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Conv2D(5, 3, activation="relu", name="high")(x)
    body = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="body")
    return Classifier(body, dense_layers(DenseOptions(units=6, dropout=dropout), 3), is_pretrained=is_pretrained)


@pytest.fixture(scope="module")
def images() -> ArrayImages:
    rng = np.random.default_rng(7)
    level = np.repeat([30, 120, 210], N // 3)[:, np.newaxis, np.newaxis, np.newaxis]
    return ArrayImages((level + rng.integers(-30, 30, (N, SIZE_PX, SIZE_PX, 3))).astype(np.uint8))


@pytest.fixture(scope="module")
def task() -> Task:
    order = np.random.default_rng(0).permutation(N)
    split = Split(np.sort(order[:60]), np.sort(order[60:75]), np.sort(order[75:]))
    return Task(np.repeat([0, 1, 2], N // 3), CLASS_NAMES, split, seed=3)


def pixels_of(images: ArrayImages, augmentation: Augmentation | None = None) -> Pixels:
    return Pixels(images, VIEW, augmentation or Augmentation())


def activations_of(classifier: Classifier, images: ArrayImages):
    def activations(cut: Cut) -> np.ndarray:
        frozen = FrozenNetwork(classifier.front(cut), SIZE_PX)
        extract = CompiledNetwork(TENSORFLOW, frozen, images.n_channels, "float32").extractor(VIEW.steps).features
        return np.asarray(extract(images.pixels))

    return activations


def train(classifier, images, task, stages, checkpoint: Path, *, augmentation=None, is_cached=False, on_epoch=None):
    return run_training(
        classifier,
        pixels_of(images, augmentation),
        task,
        stages,
        activations=activations_of(classifier, images) if is_cached else None,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


def weights_of(classifier: Classifier) -> list[np.ndarray]:
    return values_of(classifier.variables)


def curves_of(outcome) -> list[tuple]:
    """The history without seconds."""
    return [(p.stage, p.epoch, p.split, p.metric, p.value) for p in outcome.history if p.metric != "seconds"]


def interrupt_before(stage: int, epoch: int):
    def on_epoch(at_stage: int, at_epoch: int, _: int) -> None:
        if (at_stage, at_epoch) == (stage, epoch):
            raise KilledError

    return on_epoch


def test_a_toy_is_learned(images, task, tmp_path):
    stages = (Stage(unfreeze="all", epochs=40, batch_size=8, learning_rate=0.01),)

    outcome = train(make_classifier(is_pretrained=False), images, task, stages, tmp_path / "c.npz")

    assert outcome.scores.shape == (15, 3)
    np.testing.assert_allclose(outcome.scores.sum(axis=1), 1.0, rtol=1e-5)
    assert (outcome.scores.argmax(axis=1) == task.labels[task.split.test]).mean() > 0.9


def test_a_training_step_is_traced_once(images, task, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Twice takes seconds for a large network; so it was while its metrics were made in the first trace."""
    traced = []
    really_train = keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda model, data: traced.append(1) or really_train(model, data))

    train(make_classifier(), images, task, (Stage(epochs=2, batch_size=16),), tmp_path / "c.npz")

    assert len(traced) == 1


def test_stages_change_the_layers_they_unfreeze_and_no_others(images, task, tmp_path):
    classifier = make_classifier()
    before = {layer.name: values_of(layer.variables) for layer in classifier.layers}

    train(classifier, images, task, (Stage(unfreeze=1, epochs=1),), tmp_path / "c.npz")

    changed = {
        layer.name
        for layer in classifier.layers
        if any(
            not np.array_equal(old, new)
            for old, new in zip(before[layer.name], values_of(layer.variables), strict=True)
        )
    }
    assert changed == {"high"}


@pytest.fixture(scope="module")
def calm_trainings(images, task, tmp_path_factory) -> dict[bool, tuple[Classifier, Outcome]]:
    """Trainings that nobody interrupted, without and with cached activations."""
    trainings = {}
    for is_cached in (False, True):
        classifier = make_classifier()
        path = tmp_path_factory.mktemp("calm") / "calm.npz"
        trainings[is_cached] = classifier, train(classifier, images, task, TWO_STAGES, path, is_cached=is_cached)
    return trainings


@pytest.fixture(params=[False, True], ids=["whole", "cached"])
def calm(request, calm_trainings) -> tuple[bool, Classifier, Outcome]:
    return request.param, *calm_trainings[request.param]


def test_cached_activations_give_the_weights_of_training_the_whole_model(calm_trainings):
    (whole, slow), (tail, fast) = calm_trainings[False], calm_trainings[True]

    for one, other in zip(weights_of(whole), weights_of(tail), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(slow.scores, fast.scores, rtol=1e-3, atol=1e-5)
    assert slow.params_trainable == fast.params_trainable


def test_a_training_that_is_interrupted_again_and_again_ends_like_an_uninterrupted_one(images, task, tmp_path, calm):
    is_cached, undisturbed, expected = calm
    checkpoint = tmp_path / "harassed.npz"
    for stage, epoch in ((0, 2), (1, 0), (1, 2)):  # within each stage, and between the two
        with pytest.raises(KilledError):
            train(make_classifier(), images, task, TWO_STAGES, checkpoint, is_cached=is_cached,
                  on_epoch=interrupt_before(stage, epoch))  # fmt: skip

    again = make_classifier()
    outcome = train(again, images, task, TWO_STAGES, checkpoint, is_cached=is_cached)

    np.testing.assert_array_equal(outcome.scores, expected.scores)
    for one, other in zip(weights_of(again), weights_of(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert curves_of(outcome) == curves_of(expected)
    assert outcome.epochs == expected.epochs == 6


@pytest.mark.exhaustive
def test_an_interrupted_training_with_augmentation_and_rate_reduction_ends_alike(images, task, tmp_path):
    stages = (Stage(unfreeze="all", epochs=5, batch_size=16, reduce_patience=1, patience=3, learning_rate=0.05),)
    augmentation = Augmentation(flip="both", rotation=0.1, translation=0.1, zoom=0.1, brightness=0.2, contrast=0.2)
    calm, harassed, again = make_classifier(), make_classifier(), make_classifier()
    expected = train(calm, images, task, stages, tmp_path / "calm.npz", augmentation=augmentation)
    with pytest.raises(KilledError):
        train(harassed, images, task, stages, tmp_path / "c.npz", augmentation=augmentation,
              on_epoch=interrupt_before(0, 2))  # fmt: skip

    outcome = train(again, images, task, stages, tmp_path / "c.npz", augmentation=augmentation)

    np.testing.assert_array_equal(outcome.scores, expected.scores)
    assert curves_of(outcome) == curves_of(expected)


def test_a_training_that_was_over_is_only_scored_again(images, task, tmp_path):
    first = train(make_classifier(), images, task, TWO_STAGES, tmp_path / "c.npz")
    epochs = []

    second = train(make_classifier(), images, task, TWO_STAGES, tmp_path / "c.npz",
                   on_epoch=lambda *epoch: epochs.append(epoch))  # fmt: skip

    assert epochs == []
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.history == second.history


@pytest.mark.parametrize("content", [b"PK\x03\x04 torn", b""])
def test_a_damaged_checkpoint_is_a_new_beginning(images, task, tmp_path, content):
    checkpoint = tmp_path / "c.npz"
    checkpoint.write_bytes(content)

    outcome = train(make_classifier(), images, task, (Stage(epochs=1),), checkpoint)

    assert outcome.epochs == 1


def test_the_best_epoch_is_kept(images, task, tmp_path):
    """The last epochs at this rate are worse than the best one."""
    stages = (Stage(unfreeze="all", epochs=12, batch_size=8, learning_rate=0.1),)
    classifier = make_classifier(dropout=0.0)

    outcome = train(classifier, images, task, stages, tmp_path / "c.npz")

    losses = [p.value for p in outcome.history if (p.split, p.metric) == ("val", "loss")]
    assert min(losses) < losses[-1]
    inputs = keras.Input((SIZE_PX, SIZE_PX, 3))
    model = classifier.whole(inputs, inputs)
    model.compile(loss="categorical_crossentropy")
    val = task.split.val
    loss = model.evaluate(images.pixels[val] / np.float32(255), task.targets[val], verbose=0)
    assert loss == pytest.approx(min(losses), rel=1e-3)


def test_patience_ends_a_stage_early(images, task, tmp_path):
    stages = (Stage(unfreeze="all", epochs=60, batch_size=8, learning_rate=0.1, patience=2),)

    outcome = train(make_classifier(), images, task, stages, tmp_path / "c.npz")

    losses = [p.value for p in outcome.history if (p.split, p.metric) == ("val", "loss")]
    assert len(losses) == outcome.epochs < 60
    assert int(np.argmin(losses)) == len(losses) - 3


def test_the_learning_rate_falls_when_validation_does_not_improve(images, task, tmp_path):
    stages = (Stage(epochs=8, learning_rate=1e-9, reduce_patience=2, reduce_factor=0.5, optimizer="sgd"),)

    outcome = train(make_classifier(dropout=0.9), images, task, stages, tmp_path / "c.npz")

    rates = [p.value for p in outcome.history if p.metric == "learning_rate"]
    assert rates[0] == pytest.approx(1e-9)
    assert rates[-1] < rates[0]


def test_every_epoch_of_every_stage_is_in_the_history_once(calm_trainings):
    _, outcome = calm_trainings[False]

    expected = {(f"stage {stage}", epoch) for stage in (1, 2) for epoch in (1, 2, 3)}
    for split, metric in [("train", "loss"), ("train", "accuracy"), ("val", "loss"), ("val", "accuracy"),
                          ("train", "learning_rate"), ("train", "seconds")]:  # fmt: skip
        found = [(p.stage, p.epoch) for p in outcome.history if (p.split, p.metric) == (split, metric)]
        assert sorted(found) == sorted(expected)


def test_a_loss_that_is_no_number_ends_the_training(images, task, tmp_path):
    stages = (Stage(unfreeze="all", epochs=4, learning_rate=1e30, optimizer="sgd"),)

    with pytest.raises(DivergedError, match="smaller learning_rate than 1e\\+30"):
        train(make_classifier(), images, task, stages, tmp_path / "c.npz")


def test_the_seed_decides(images, task, tmp_path):
    other = Task(task.labels, task.class_names, task.split, seed=4)
    stages = (Stage(unfreeze=2, epochs=1, batch_size=16),)

    one = train(make_classifier(), images, task, stages, tmp_path / "a.npz")
    same = train(make_classifier(), images, task, stages, tmp_path / "b.npz")
    different = train(make_classifier(), images, other, stages, tmp_path / "c.npz")

    np.testing.assert_array_equal(one.scores, same.scores)
    assert not np.array_equal(one.scores, different.scores)


def test_a_class_weight_moves_predictions_towards_its_class(images, task, tmp_path):
    def share(weights):
        stages = (Stage(unfreeze="all", epochs=3, batch_size=8, learning_rate=0.01, class_weights=weights),)
        outcome = train(make_classifier(), images, task, stages, tmp_path / f"{weights is None}.npz")
        return outcome.scores[:, 0].mean()

    assert share({"dark": 50.0}) > share(None)


def test_balanced_class_weights_of_equal_classes_change_nothing(images, tmp_path):
    split = Split(np.arange(0, N, 3), np.arange(1, N, 3), np.arange(2, N, 3))
    task = Task(
        np.tile([0, 1, 2], N // 3)[np.argsort(np.tile([0, 1, 2], N // 3), kind="stable")], CLASS_NAMES, split, 0
    )

    plain = train(make_classifier(), images, task, (Stage(epochs=2),), tmp_path / "a.npz")
    balanced = train(make_classifier(), images, task, (Stage(epochs=2, class_weights="balanced"),), tmp_path / "b.npz")

    np.testing.assert_allclose(plain.scores, balanced.scores, rtol=1e-5)


def test_balanced_class_weights_pass_over_a_class_without_images(images, tmp_path):
    """As a dataset of labels 1..3 has it: class 0 never occurs."""
    split = Split(np.arange(0, N, 3), np.arange(1, N, 3), np.arange(2, N, 3))
    task = Task(1 + np.arange(N) % 2, CLASS_NAMES, split, 0)

    outcome = train(make_classifier(), images, task, (Stage(epochs=1, class_weights="balanced"),), tmp_path / "a.npz")

    assert np.isfinite(outcome.scores).all()


def test_label_smoothing_keeps_probabilities_from_the_extremes(images, task, tmp_path):
    def confidence(smoothing):
        stages = (Stage(unfreeze="all", epochs=15, batch_size=8, learning_rate=0.01, label_smoothing=smoothing),)
        outcome = train(make_classifier(dropout=0.0), images, task, stages, tmp_path / f"{smoothing}.npz")
        return outcome.scores.max(axis=1).mean()

    assert confidence(0.5) < confidence(0.0)
