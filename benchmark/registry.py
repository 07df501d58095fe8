"""The registry: `backbones.toml` read into `Backbone` records."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError, check_known
from benchmark.tables import config_error, read_toml

# Keys of `preprocessing.MODES`. Keras's own networks use all but `unit`.
NativeMode = Literal["raw", "unit", "tf", "caffe", "torch"]
NATIVE_MODES: tuple[str, ...] = get_args(NativeMode)

LARGEST_INPUT_PX = 4096

REGISTRY_FILE = "backbones.toml"
SHIPPED = Path(__file__).parent / "data"
CHECKOUT = Path(__file__).parents[1]

FilePath = Annotated[str, StringConstraints(pattern=r"^file:.+")]
WheelMember = Annotated[str, StringConstraints(pattern=r"^pypi:[^=/]+==[^=/]+/.+")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Backbone(BaseModel):
    """One table of the registry: a network, the preprocessing it was trained with, and its weights.

    Attributes:
        name: The table's name.
        folder: The folder of the registry file; `file:` paths are relative to it.
        application: Constructor in `keras.applications`. Exactly one of this, `builder` and `model` is given.
        builder: `"package.module:function"` that takes `input_shape` and returns a Keras model.
        model: `"file:PATH"` of a whole saved Keras model.
        preprocess: Module of `keras.applications` whose `preprocess_input` is the right one.
        native_mode: How that function scales pixels in 0..255; registry files call it `mode`.
        input_size_px: Side of the square input the weights were trained for.
        min_size_px: Smallest side the network can be built for.
        feature_dim: Number of features after global average pooling.
        params_backbone: Parameters without the classifier head.
        flops_g: Floating-point operations per image at `input_size_px`, in 1e9 (a multiply-add is two).
        weights: `"imagenet"`, `"random"`, `"file:PATH"` or `"pypi:NAME==VERSION/MEMBER"`.
        weights_sha256: Checksum of the weights file; required for `pypi:`.
        weights_group: Prefix of the HDF5 paths that belong to the backbone; other paths are ignored.
        weights_match: Whether arrays go to layers of the same name, or layer after layer in the file's order.
        weights_graph: `"imagenet"` if the file was saved from the graph that Keras builds for `weights="imagenet"`
            (that of EfficientNetB0 to B7 is different, see `backbones.build`).
        has_classifier: Whether the network ends in its own classifier. Its `builder` also takes `n_classes`, its
            input has as many channels as the images, its output is the probabilities, and it is trained from scratch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    folder: Path
    application: str | None = None
    builder: Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")] | None = None
    model: FilePath | None = None
    preprocess: str | None = None
    # Keras calls it "identity" where a `preprocess_input` leaves pixels as they are.
    native_mode: Annotated[NativeMode, BeforeValidator(lambda word: "raw" if word == "identity" else word)] = Field(
        alias="mode"
    )
    input_size_px: Annotated[int, Field(ge=1, le=LARGEST_INPUT_PX)]
    min_size_px: Annotated[int, Field(ge=1)] = 1
    feature_dim: Annotated[int, Field(ge=1)] | None = None
    params_backbone: Annotated[int, Field(ge=0)] | None = None
    flops_g: Annotated[float, Field(gt=0)] | None = None
    weights: Literal["imagenet", "random"] | FilePath | WheelMember = "imagenet"
    weights_sha256: Sha256 | None = None
    weights_group: str = ""
    weights_match: Literal["name", "order"] = "name"
    weights_graph: Literal["imagenet", "plain"] = "plain"
    has_classifier: bool = False

    @model_validator(mode="after")
    def _has_one_network(self) -> "Backbone":
        if sum(source is not None for source in (self.application, self.builder, self.model)) != 1:
            raise ValueError("give exactly one of application, builder and model")
        if self.weights.startswith("pypi:") and self.weights_sha256 is None:
            raise ValueError("weights from pypi: need weights_sha256")
        if self.weights == "imagenet" and self.application is None:
            raise ValueError('weights = "imagenet" needs application')
        if self.has_classifier and (self.builder is None or self.weights != "random"):
            raise ValueError('has_classifier = true needs builder and weights = "random"')
        return self

    @property
    def build_facts(self) -> dict[str, Any]:
        """The facts that can change the network or which array goes to which layer, for feature keys."""
        kept = {"application", "builder", "model", "weights_group", "weights_match", "weights_graph"}
        return self.model_dump(mode="json", include=kept, exclude_defaults=True)

    @property
    def facts(self) -> dict[str, Any]:
        """Every fact that can change a result, for cell keys."""
        informative = {"folder", "flops_g", "params_backbone", "feature_dim"}
        return self.model_dump(mode="json", exclude=informative, exclude_defaults=True, by_alias=True)


Registry = Mapping[str, Backbone]


def shipped_path(name: str) -> Path:
    """A file or folder that comes with the project: inside the wheel, or at the top of a checkout."""
    packaged = SHIPPED / name
    return packaged if packaged.exists() else CHECKOUT / name


def read_registry(path: Path) -> dict[str, Backbone]:
    """The backbones of one registry file, in its order.

    Raises:
        ConfigError: A table has an unknown key, a missing key or a wrong value.
    """
    backbones = {}
    for name, table in read_toml(path).items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name!r} stands outside a table; expected one table per backbone, [{name}].")
        if reserved := {"name", "folder"} & set(table):
            raise ConfigError(f"{path}, table [{name}]:\n  {', '.join(sorted(reserved))}: not a key of a registry.")
        try:
            backbones[name] = Backbone(**table, name=name, folder=path.resolve().parent)
        except ValidationError as error:
            raise config_error(f"{path}, table [{name}]", Backbone, error) from error
    return backbones


def load_registry(extra: Sequence[Path] = ()) -> Registry:
    """The backbones of `./backbones.toml` (without one, those shipped) and of the files in `extra`.

    An entry of a later file replaces one of the same name.
    """
    local = Path(REGISTRY_FILE)
    backbones = read_registry(local if local.exists() else shipped_path(REGISTRY_FILE))
    for path in extra:
        backbones |= read_registry(path)
    return backbones


def select_names(kind: str, patterns: Iterable[str], known: Iterable[str]) -> list[str]:
    """The known names that match, in the order of the patterns, each once.

    Args:
        kind: Of the names, for the message.
        patterns: Names or shell patterns such as `EfficientNet*`.
        known: All names.

    Raises:
        UnknownNameError: A pattern matches nothing.
    """
    names = list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise UnknownNameError(kind, pattern, names)
        chosen.update(dict.fromkeys(matches))
    return list(chosen)


def get_backbone(registry: Registry, name: str) -> Backbone:
    """The record of that name.

    Raises:
        UnknownNameError: There is no such backbone.
    """
    check_known("backbone", name, registry)
    return registry[name]


def check_input_size(backbone: Backbone, size_px: int) -> None:
    """Refuse a size for which the network cannot be built.

    Raises:
        BenchmarkError: `size_px` is below the minimum.
    """
    if size_px < backbone.min_size_px:
        raise BenchmarkError(
            f"{backbone.name} needs an input of at least {backbone.min_size_px} px, got {size_px} px: "
            f"choose a larger --input-size (it was trained at {backbone.input_size_px} px)."
        )
