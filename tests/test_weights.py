"""Arrays of every layout of weights file put into a model, and what is said about a file that does not fit."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmark.backbones.build import build_backbone
from benchmark.backbones.weights import load_arrays, read_layer_arrays
from benchmark.errors import WeightsError
from benchmark.registry import Backbone

LAYERS = ("stem", "norm", "deep_a", "deep_b")


def small_network(*, stem_filters: int = 4, left_out: str = "", more: str = ""):
    """Four layers with weights, two of one class, and one without weights between them."""
    import keras

    makers = {
        "stem": lambda name: keras.layers.Conv2D(stem_filters, 3, name=name),
        "norm": lambda name: keras.layers.BatchNormalization(name=name),
        "pool": lambda name: keras.layers.GlobalAveragePooling2D(name=name),
        "deep_a": lambda name: keras.layers.Dense(5, name=name),
        "deep_b": lambda name: keras.layers.Dense(5, name=name),
        "more": lambda name: keras.layers.Dense(5, name=name),
    }
    x = pixels = keras.Input((8, 8, 3), name="pixels")
    for name in ("stem", "norm", "pool", "deep_a", "deep_b", more):
        if name and name != left_out:
            x = makers[name](name)(x)
    return keras.Model(pixels, x, name="small")


def shaken(network, rng: np.random.Generator):
    """The network with every weight a different positive number, so that no two arrays can be confused."""
    network.set_weights([rng.uniform(0.1, 1, weight.shape).astype(np.float32) for weight in network.get_weights()])
    for layer in network.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return network


def stirred(network, pixels: np.ndarray, rng: np.random.Generator):
    """The network with no two vectors alike, and each BatchNorm fitted to `pixels`, so that features depend on them."""
    import keras

    arrays = network.get_weights()
    network.set_weights([array + rng.normal(0, 0.05, array.shape) * (array.ndim == 1) for array in arrays])
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    network(pixels, training=True)
    # Unfitted, a random network forgets its input; fitted exactly, it magnifies rounding a thousandfold.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 1.5)
    return network


def features_of(network, pixels: np.ndarray) -> np.ndarray:
    features = np.asarray(network(pixels, training=False))
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() > 1e-3 * np.abs(features).max(), "the features hardly depend on the image"
    return features


def write_legacy(path: Path, network) -> Path:
    """The flat layout of Keras 2: a group a layer, `layer_names` and `weight_names` as attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = array
    return path


def write_keras_2_style(folder: Path, network) -> tuple[Path, str]:
    return write_legacy(folder / "network.h5", network), ""


def write_weights_h5(folder: Path, network) -> tuple[Path, str]:
    network.save_weights(folder / "network.weights.h5")
    return folder / "network.weights.h5", ""


def write_keras_archive(folder: Path, network) -> tuple[Path, str]:
    network.save(folder / "network.keras")
    return folder / "network.keras", ""


def write_whole_legacy_model(folder: Path, network) -> tuple[Path, str]:
    network.save(folder / "network.h5")
    return folder / "network.h5", "model_weights"


def classifier_on(network):
    import keras

    return keras.Sequential([keras.Input(network.input_shape[1:]), network, keras.layers.Dense(2, name="classes")])


def write_nested_legacy(folder: Path, network) -> tuple[Path, str]:
    classifier_on(network).save(folder / "classifier.h5")
    return folder / "classifier.h5", f"model_weights/{network.name}"


def write_nested_frozen_legacy(folder: Path, network) -> tuple[Path, str]:
    network.trainable = False
    return write_nested_legacy(folder, network)


def write_nested_weights_h5(folder: Path, network) -> tuple[Path, str]:
    classifier_on(network).save_weights(folder / "classifier.weights.h5")
    return folder / "classifier.weights.h5", "layers/functional"


WRITERS = [
    write_keras_2_style,
    write_weights_h5,
    write_keras_archive,
    write_whole_legacy_model,
    write_nested_legacy,
    write_nested_frozen_legacy,
    write_nested_weights_h5,
]
FLAT_WRITERS = WRITERS[:4]
# A Keras 3 file has its layers by class, not by their place in the network.
ORDERED_WRITERS = [write for write in WRITERS if "weights" not in write.__name__ and "archive" not in write.__name__]
MATCHES = [("name", write) for write in WRITERS] + [("order", write) for write in ORDERED_WRITERS]


def assert_same_weights(found, expected):
    for layer, other in zip(found.layers, expected.layers, strict=True):
        for array, reference in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(array, reference, err_msg=layer.name)


# Round trips


@pytest.mark.parametrize(("match", "write"), MATCHES)
def test_every_layout_brings_back_every_array(tmp_path, rng, match, write):
    saved = shaken(small_network(), rng)
    path, group = write(tmp_path, saved)
    network = small_network()

    load_arrays(network, path, group=group, match=match)

    assert_same_weights(network, saved)


def test_the_arrays_of_a_layer_are_found_in_the_order_of_the_file(tmp_path):
    network = small_network()

    found = read_layer_arrays(write_legacy(tmp_path / "network.h5", network), "", set(LAYERS))

    assert list(found) == list(LAYERS)
    assert [array.shape for array in found["stem"]] == [(3, 3, 3, 4), (4,)]
    assert [array.shape for array in found["norm"]] == [(4,)] * 4


def test_layers_of_other_names_are_matched_by_order(tmp_path, rng):
    saved = shaken(small_network(), rng)
    path = write_legacy(tmp_path / "network.h5", saved)
    network = small_network()
    for layer in network.layers:
        layer.name = f"my_{layer.name}"

    load_arrays(network, path, group="", match="order")

    assert_same_weights(network, saved)


def test_more_than_ten_layers_of_a_class_keep_their_order(tmp_path, rng):
    """`dense_10` stands after `dense_2`, although the alphabet has it before."""
    import keras

    def tower():
        x = inputs = keras.Input((3,))
        for _ in range(12):
            x = keras.layers.Dense(3)(x)
        return keras.Model(inputs, x)

    saved = shaken(tower(), rng)
    saved.save_weights(tmp_path / "tower.weights.h5")
    network = tower()

    for match in ("name", "order"):
        load_arrays(network, tmp_path / "tower.weights.h5", group="", match=match)

        assert_same_weights(network, saved)


def test_a_group_chooses_the_layers_whose_paths_begin_with_it(tmp_path, rng):
    """The head of a larger file is left where it is."""
    saved = shaken(small_network(), rng)
    with h5py.File(tmp_path / "parts.weights.h5", "w") as file:
        for number, layer in enumerate(layer for layer in saved.layers if layer.weights):
            for index, array in enumerate(layer.get_weights()):
                file[f"block{number}/layers/part/vars/{index}"] = array
        file["head/layers/dense/vars/0"] = np.ones((5, 5), np.float32)
    network = small_network()

    load_arrays(network, tmp_path / "parts.weights.h5", group="block", match="order")

    assert_same_weights(network, saved)


def test_a_normalization_layer_uses_the_statistics_it_was_given(tmp_path):
    import keras

    def normalizer():
        pixels = keras.Input((2, 2, 3))
        return keras.Model(pixels, keras.layers.Normalization(name="normalization")(pixels))

    saved = normalizer()
    saved.layers[1].set_weights([np.array([1, 2, 3], np.float32), np.array([4, 9, 16], np.float32), np.array(1)])
    saved.save_weights(tmp_path / "normalizer.weights.h5")
    network = normalizer()

    load_arrays(network, tmp_path / "normalizer.weights.h5", group="", match="name")

    eleven = np.full((1, 2, 2, 3), 11, np.float32)
    np.testing.assert_allclose(network(eleven)[0, 0, 0], [10 / 2, 9 / 3, 8 / 4], rtol=1e-6)


def test_lists_of_names_that_keras_split_over_several_attributes_are_joined(tmp_path, rng, monkeypatch):
    """HDF5 holds at most 64 KiB in an object's header, so Keras writes `weight_names0`, `weight_names1` and on."""
    import keras

    monkeypatch.setattr(keras.src.legacy.saving.legacy_h5_format, "HDF5_OBJECT_HEADER_LIMIT", 100)
    saved = shaken(small_network(), rng)
    path, group = write_nested_legacy(tmp_path, saved)
    with h5py.File(path) as file:
        assert "weight_names0" in file[group].attrs
    network = small_network()

    load_arrays(network, path, group=group, match="name")

    assert_same_weights(network, saved)


# Files that do not fit


@pytest.mark.parametrize("write", FLAT_WRITERS)
def test_a_file_that_lacks_the_last_layer_names_it(tmp_path, write):
    path, group = write(tmp_path, small_network(left_out="deep_b"))

    with pytest.raises(WeightsError, match=rf"{path.name}.* lacks the arrays of layer deep_b \(as .*\)\."):
        load_arrays(small_network(), path, group=group, match="name")


def test_a_file_that_lacks_a_layer_in_the_middle_names_it(tmp_path):
    path = write_legacy(tmp_path / "network.h5", small_network(left_out="norm"))

    with pytest.raises(WeightsError, match=r"network\.h5 lacks the arrays of layer norm \(as norm\)\."):
        load_arrays(small_network(), path, group="", match="name")


def test_a_file_with_too_few_layers_names_the_one_that_gets_none(tmp_path):
    path = write_legacy(tmp_path / "network.h5", small_network(left_out="deep_b"))

    with pytest.raises(WeightsError, match=r"network\.h5 lacks the arrays of layer deep_b\."):
        load_arrays(small_network(), path, group="", match="order")


@pytest.mark.parametrize("match", ["name", "order"])
@pytest.mark.parametrize("write", FLAT_WRITERS)
def test_a_file_with_one_layer_more_names_it(tmp_path, write, match):
    path, group = write(tmp_path, small_network(more="more"))
    extra = "layers/dense_2" if write in (write_weights_h5, write_keras_archive) else "more"

    with pytest.raises(WeightsError, match=rf"arrays that no layer takes: {extra}\. Narrow weights_group"):
        load_arrays(small_network(), path, group=group, match=match)


@pytest.mark.parametrize(("match", "write"), MATCHES)
def test_a_misshaped_array_is_refused_with_its_layer_and_both_shapes(tmp_path, match, write):
    path, group = write(tmp_path, small_network(stem_filters=6))

    complaint = r"layer stem takes arrays of shapes \[\(3, 3, 3, 4\), \(4,\)\], .* has \[\(3, 3, 3, 6\), \(6,\)\]\."
    with pytest.raises(WeightsError, match=complaint):
        load_arrays(small_network(), path, group=group, match=match)


def test_a_layer_that_lacks_one_of_its_arrays_is_named(tmp_path):
    path, _ = write_weights_h5(tmp_path, small_network())
    with h5py.File(path, "a") as file:
        del file["layers/batch_normalization/vars/3"]

    with pytest.raises(WeightsError, match=r"layer norm takes arrays of shapes .* layers/batch_normalization has \["):
        load_arrays(small_network(), path, group="", match="name")


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path, rng):
    path = write_legacy(tmp_path / "network.h5", small_network(left_out="deep_b"))
    network = shaken(small_network(), rng)
    before = network.get_weights()

    with pytest.raises(WeightsError, match="lacks"):
        load_arrays(network, path, group="", match="name")

    for array, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_a_group_that_holds_nothing_is_named(tmp_path):
    path = write_legacy(tmp_path / "network.h5", small_network())

    with pytest.raises(WeightsError, match=r"network\.h5:absent holds no arrays: is weights_group right\?"):
        load_arrays(small_network(), path, group="absent", match="name")


@pytest.mark.parametrize("name", ["network.h5", "network.weights.h5", "network.keras"])
def test_a_file_that_is_neither_hdf5_nor_an_archive_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("<html>404 Not Found</html>")

    with pytest.raises(WeightsError, match=rf"{name} cannot be read as a weights file: "):
        load_arrays(small_network(), path, group="", match="name")


def test_an_archive_without_weights_is_refused(tmp_path):
    path = tmp_path / "network.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")

    with pytest.raises(WeightsError, match=r"network\.keras cannot be read as a weights file: .*model\.weights\.h5"):
        load_arrays(small_network(), path, group="", match="name")


def test_a_cut_off_file_is_refused(tmp_path):
    path, _ = write_weights_h5(tmp_path, small_network())
    path.write_bytes(path.read_bytes()[:-500])

    with pytest.raises(WeightsError, match=r"network\.weights\.h5 cannot be read as a weights file: .*truncated"):
        load_arrays(small_network(), path, group="", match="name")


def test_a_name_without_its_array_is_refused(tmp_path):
    path = write_legacy(tmp_path / "network.h5", small_network())
    with h5py.File(path, "a") as file:
        del file["stem/stem/kernel:0"]

    with pytest.raises(WeightsError, match=r"network\.h5 cannot be read as a weights file: .*kernel:0"):
        load_arrays(small_network(), path, group="", match="name")


# Heads and nested models


def with_head(network, head_name: str = "classes"):
    """A flat classifier: the network's layers and one more."""
    import keras

    return keras.Model(network.inputs[0], keras.layers.Dense(3, name=head_name)(network.outputs[0]), name="whole")


@pytest.mark.parametrize("write", FLAT_WRITERS)
def test_the_head_of_a_fine_tuned_model_is_left_out_by_its_layers_name(tmp_path, rng, write):
    saved = shaken(small_network(), rng)
    path, group = write(tmp_path, with_head(saved))
    head = "dense_2" if write in (write_weights_h5, write_keras_archive) else "class*"
    network = small_network()

    load_arrays(network, path, group=group, match="name", skip=[head])

    assert_same_weights(network, saved)


@pytest.mark.parametrize("write", FLAT_WRITERS)
def test_a_head_that_nobody_left_out_is_named_with_the_key_that_does(tmp_path, write):
    path, group = write(tmp_path, with_head(small_network()))
    head = "dense_2" if write in (write_weights_h5, write_keras_archive) else "classes"

    with pytest.raises(
        WeightsError, match=rf'that no layer takes: .*{head}\. .* by weights_skip, such as \["{head}"\]'
    ):
        load_arrays(small_network(), path, group=group, match="name")


def test_a_layer_to_skip_that_the_file_lacks_is_a_mistake(tmp_path):
    path = write_legacy(tmp_path / "network.h5", small_network())

    with pytest.raises(
        WeightsError, match=r"network\.h5 has no layer 'dence\*', which weights_skip names; it has stem"
    ):
        load_arrays(small_network(), path, group="", match="name", skip=["dence*"])


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_a_backbone_that_is_one_layer_of_another_model_is_found(tmp_path, rng, suffix, depth):
    import keras

    saved = shaken(small_network(), rng)
    inner = saved
    for _ in range(depth - 1):
        inner = keras.Sequential([keras.Input(saved.input_shape[1:]), inner])
    whole = classifier_on(inner)
    path = tmp_path / f"classifier{suffix}"
    whole.save_weights(path) if suffix == ".weights.h5" else whole.save(path)
    network = small_network()

    load_arrays(network, path, group="", match="name")

    assert_same_weights(network, saved)


def test_two_backbones_in_one_file_are_told_apart_by_their_group_only(tmp_path, rng):
    import keras

    pixels = keras.Input((8, 8, 3))
    two = [shaken(small_network(), rng) for _ in range(2)]
    for number, one in enumerate(two):
        one.name = f"small_{number}"
    keras.Model(pixels, [one(pixels) for one in two]).save_weights(tmp_path / "two.weights.h5")
    network = small_network()

    with pytest.raises(WeightsError, match="lacks the arrays of layer stem"):
        load_arrays(network, tmp_path / "two.weights.h5", group="", match="name")
    load_arrays(network, tmp_path / "two.weights.h5", group="layers/functional_1", match="name")

    assert_same_weights(network, two[1])


# Hostile files


def link_to_itself(file: h5py.File) -> None:
    file["stem"]["again"] = file["/"]


def link_softly(file: h5py.File) -> None:
    file["soft"] = h5py.SoftLink("/stem")


def link_outside(file: h5py.File) -> None:
    file["outside"] = h5py.ExternalLink("other.h5", "/stem")


def keep_numbers_outside(file: h5py.File) -> None:
    file.create_dataset("outside", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def claim_too_much(file: h5py.File) -> None:
    file.create_dataset("huge", (10**7, 10**4), "f4", chunks=(1000, 1000))


def name_numbers(file: h5py.File) -> None:
    file["stem"].attrs["weight_names"] = [1, 2]


def name_a_group(file: h5py.File) -> None:
    file["stem"].create_group("inner")
    file["stem"].attrs["weight_names"] = [b"inner"]


def name_the_root(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"/"]


def name_text(file: h5py.File) -> None:
    file["stem"]["text"] = "no number"
    file["stem"].attrs["weight_names"] = [b"text"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (link_to_itself, "a second link to the same object"),
        (link_softly, "soft is a link to another place"),
        (link_outside, "outside is a link to another place"),
        (keep_numbers_outside, "outside keeps its numbers in another file"),
        (claim_too_much, r"huge claims more numbers \(10000000, 10000\) than the file can hold"),
        (name_numbers, "cannot be read as a weights file"),
        (name_a_group, "inner is not an array of numbers"),
        (name_the_root, "names '/' as a layer"),
        (name_text, "text is not an array of numbers"),
    ],
)
def test_a_file_that_holds_what_keras_does_not_write_is_refused(tmp_path, spoil, complaint):
    path = write_legacy(tmp_path / "network.h5", small_network())
    with h5py.File(path, "a") as file:
        spoil(file)

    with pytest.raises(WeightsError, match=rf"network\.h5.*{complaint}"):
        load_arrays(small_network(), path, group="", match="name")


def test_an_archive_whose_member_unpacks_to_much_more_than_it_takes_is_refused(tmp_path):
    path = tmp_path / "network.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(50 * 2**20))

    with pytest.raises(WeightsError, match=r"network\.keras: model\.weights\.h5 unpacks .* to 52,428,800"):
        load_arrays(small_network(), path, group="", match="name")


@pytest.mark.parametrize("member", ["../evil", "assets/../../evil", "extra.py"])
def test_an_archive_with_other_members_than_those_of_keras_is_refused(tmp_path, member):
    path, _ = write_keras_archive(tmp_path, small_network())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "content")

    with pytest.raises(WeightsError, match=r"holds '.*', which Keras does not write"):
        load_arrays(small_network(), path, group="", match="name")


# Real networks


@pytest.mark.slow
def test_mobilenet_gives_the_same_features_from_every_kind_of_file(tmp_path, rng):
    import keras

    pixels = rng.uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    saved = stirred(
        keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3)),
        pixels,
        rng,
    )
    expected = features_of(saved, pixels)
    scale = np.abs(expected).max()

    for write in (write_keras_2_style, write_weights_h5, write_keras_archive, write_nested_legacy):
        path, group = write(tmp_path, saved)
        entry = Backbone(
            name="Saved",
            folder=tmp_path,
            application="MobileNetV2",
            mode="tf",
            input_size_px=32,
            weights=f"file:{path.name}",
            weights_group=group,
        )

        features = features_of(build_backbone(entry, 32), pixels)

        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6 * scale, err_msg=write.__name__)


@pytest.fixture
def efficientnet_as_keras_downloads_it(monkeypatch, tmp_path):
    """`EfficientNetB0(weights="imagenet")` from a file of the true layout: the published arrays are not needed."""
    import keras

    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(home))
    # Any arrays of the right shapes will do, so their checksum is not the published one.
    monkeypatch.setattr(keras.src.utils.file_utils, "validate_file", lambda *_, **__: True)
    plain = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    write_legacy(home / "models" / "efficientnetb0_notop.h5", plain)
    keras.backend.clear_session()
    return keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", pooling="avg", input_shape=(32, 32, 3)
    )


@pytest.mark.slow
def test_efficientnet_saved_from_the_imagenet_graph_gives_the_same_features_in_the_plain_one(
    tmp_path, rng, efficientnet_as_keras_downloads_it
):
    """The imagenet graph has one more rescaling; `weights_graph = "imagenet"` folds it into the normalization."""
    import keras

    pixels = rng.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    saved = stirred(efficientnet_as_keras_downloads_it, pixels, rng)
    rescalings = [layer for layer in saved.layers if isinstance(layer, keras.layers.Rescaling)]
    assert len(rescalings) == 2, "Keras no longer adds a rescaling: weights_graph can go"
    expected = features_of(saved, pixels)
    scale = np.abs(expected).max()

    def features_from(write, graph: str) -> np.ndarray:
        path, group = write(tmp_path, saved)
        keras.backend.clear_session()
        entry = Backbone(
            name="Saved",
            folder=tmp_path,
            application="EfficientNetB0",
            mode="raw",
            input_size_px=32,
            weights=f"file:{path.name}",
            weights_group=group,
            weights_graph=graph,
        )
        return features_of(build_backbone(entry, 32), pixels)

    for write in (write_weights_h5, write_keras_2_style):
        features = features_from(write, "imagenet")

        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * scale, err_msg=write.__name__)
    unfolded = features_from(write_keras_2_style, "plain")
    assert np.abs(unfolded - expected).max() > 1e-3 * scale, "the test would not notice the trap"
