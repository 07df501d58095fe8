"""The record of one backbone: a table of the registry."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from benchmark.preprocessing import CROPS, RESIZERS, USUAL_CROP, USUAL_RESIZE, Crop, CropValue, Normalisation

LARGEST_INPUT_PX = 4096
# Keys of an entry that are arguments of some constructors.
ARGUMENTS = ("alpha", "minimalistic", "depth_multiplier", "include_preprocessing")
# Input side in px of classifiers that flatten the feature map, and so take one size only.
OF_ONE_SIZE = {"VGG16": 224, "VGG19": 224}

# Builders that come with the project; every other one is somebody's own code.
SHIPPED_BUILDERS = "benchmark.backbones.networks:"
# The value of `weights` of a network that gets them from its builder, or from its preset.
OF_SOURCES = {"builder": "builder", "hub": "preset"}
# The keys of which an entry has one: where its network is from.
SOURCES = ("application", "builder", "model", "hub")


def _inside_the_wheel(source: str) -> str:
    member = PurePosixPath(source.split("/", 1)[1])
    if member.is_absolute() or ".." in member.parts:
        raise ValueError("the member is a path inside the wheel, without '..'")
    return source


def _known_resize(name: str) -> str:
    if name not in RESIZERS:
        raise ValueError(f"expected one of {', '.join(RESIZERS)}")
    return name


def _known_crop(crop: Crop) -> Crop:
    if isinstance(crop, str) and crop not in CROPS:
        raise ValueError(f"expected {', '.join(CROPS)}, or a share between 0 and 1, such as 0.875")
    return crop


# How a path to a file begins.
FILE = "file:"
FilePath = Annotated[str, StringConstraints(pattern=r"^file:.+")]
# The requirement becomes an argument of pip, so it is nothing but a name (PEP 503) and a version (PEP 440).
WheelMember = Annotated[
    str,
    StringConstraints(
        pattern=r"^pypi:[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*/[^\x00-\x1f\\]+$"
    ),
    AfterValidator(_inside_the_wheel),
]
# Keras calls it "identity" where a `preprocess_input` leaves pixels as they are.
ModeName = Annotated[
    Literal["raw", "unit", "tf", "caffe", "torch"],
    BeforeValidator(lambda word: "raw" if word == "identity" else word),
]
NativeMode = Annotated[
    Annotated[ModeName, Tag("name")] | Annotated[Normalisation, Tag("table")],
    Discriminator(lambda mode: "table" if isinstance(mode, dict | Normalisation) else "name"),
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Backbone(BaseModel):
    """One table of the registry: a network, the preprocessing it was trained with, and its weights.

    Attributes:
        name: The table's name.
        folder: The folder of the registry file; `file:` paths are relative to it.
        is_trusted: Whether its `builder` may be imported: not if the file merely lies in the working folder.
        application: Constructor in `keras.applications`. Exactly one of this, `builder`, `model` and `hub` is given.
        alpha: Argument of the constructor, as are the next three; Keras's default if not given.
        minimalistic: As `alpha`.
        depth_multiplier: As `alpha`.
        include_preprocessing: As `alpha`. Without it the network does not rescale pixels, and has another `mode`.
        builder: `"package.module:function"` that takes `input_shape` and returns a Keras model. The module may lie
            beside the registry file.
        model: `"file:PATH"` of a whole saved Keras model of Keras's own layers.
        hub: Preset of KerasHub: its name, a handle such as `"hf://user/name"`, or a folder, relative to the registry
            file. What is not given of `mode`, `input_size_px`, `resize`, `crop` and `pooling` is the preset's own.
        cut: Name of the layer whose output is the features, such as the one before the classifier.
        pooling: How the feature map, or tokens `(n, tokens, d)`, become one vector: `"avg"` (the default of a feature
            map), `"max"`, `"cls"`, the first token, or `"tokens"`, the mean of those of the image's patches.
            `"embedding"` is that of a preset whose vision tower gives one vector by itself.
        preprocess: Module of `keras.applications` whose `preprocess_input` is the right one.
        native_mode: How that function scales pixels in 0..255: one of `preprocessing.NATIVE_MODES`, or a normalisation
            `{ mean = [R, G, B], std = [R, G, B] }` of pixels in 0..1. Registry files call it `mode`.
        input_size_px: Side of the square input the weights were trained for.
        resize: How images are resized for it, if a sweep does not say: a key of `preprocessing.RESIZERS`.
        crop: What is cut off for it, if a sweep does not say: a key of `preprocessing.CROPS`, or a share.
        min_size_px: Smallest side the network can be built for.
        feature_dim: Number of features after pooling.
        params_backbone: Parameters without the classifier head.
        flops_g: Floating-point operations per image at `input_size_px`, in 1e9 (a multiply-add is two).
        weights: `"imagenet"`, `"random"`, `"file:PATH"`, `"pypi:NAME==VERSION/MEMBER"`, `"builder"`: as its builder
            gives them, or `"preset"`. By default that of its network: `"imagenet"`, `"builder"`, `"preset"`, or the
            file of its `model`. A `"random"` network of a builder has other weights for every seed, which is checked.
        weights_sha256: Checksum of the weights file; required for `pypi:`.
        weights_group: Prefix of the HDF5 paths that belong to the backbone; other paths are ignored.
        weights_skip: Names or patterns of layers in the weights file that the backbone does not have, such as
            `["dense*"]` for the head of a fine-tuned model.
        weights_match: Whether arrays go to layers of the same name, or layer after layer in the file's order.
        weights_classifier: Whether the weights file also holds the network's classifier of ImageNet's 1,000 classes, so
            that it can take strategy `classify`. For other strategies, `weights_skip` names the classifier's layers.
        weights_graph: `"imagenet"` if the file was saved from the graph that Keras builds for `weights="imagenet"`
            (that of EfficientNetB0 to B7 is different, see `backbones.build`).
        has_classifier: Whether the network ends in its own classifier. Its `builder` also takes `n_classes`, its
            input has as many channels as the images, its output is the probabilities, and it is trained from scratch.
        engine: The library that is faster on a processor, where it is not `usual_engine` by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    folder: Path
    is_trusted: bool = True
    application: str | None = None
    alpha: Annotated[float, Field(gt=0)] | None = None
    minimalistic: bool | None = None
    depth_multiplier: Annotated[int, Field(ge=1)] | None = None
    include_preprocessing: bool | None = None
    builder: Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")] | None = None
    model: FilePath | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None
    cut: str | None = None
    pooling: Literal["avg", "max", "cls", "tokens", "embedding"] | None = None
    preprocess: str | None = None
    native_mode: NativeMode = Field(alias="mode")
    input_size_px: Annotated[int, Field(ge=1, le=LARGEST_INPUT_PX)]
    resize: Annotated[str, AfterValidator(_known_resize)] | None = None
    crop: Annotated[CropValue, AfterValidator(_known_crop)] | None = None
    min_size_px: Annotated[int, Field(ge=1)] = 1
    feature_dim: Annotated[int, Field(ge=1)] | None = None
    params_backbone: Annotated[int, Field(ge=0)] | None = None
    flops_g: Annotated[float, Field(gt=0)] | None = None
    weights: Literal["imagenet", "random", "builder", "preset"] | FilePath | WheelMember = "imagenet"
    weights_sha256: Sha256 | None = None
    weights_group: str = ""
    # Strict mode takes no list, which is what TOML has, for a tuple.
    weights_skip: Annotated[tuple[str, ...], Field(strict=False)] = ()
    weights_match: Literal["name", "order"] = "name"
    weights_classifier: bool = False
    weights_graph: Literal["imagenet", "plain"] = "plain"
    has_classifier: bool = False
    engine: Literal["tensorflow", "openvino"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bring_weights(cls, facts: Any) -> Any:
        own = facts.get("model") or next((kind for key, kind in OF_SOURCES.items() if facts.get(key)), None)
        return {"weights": own, **facts} if own else facts

    @model_validator(mode="after")
    def _has_one_network(self) -> "Backbone":
        if sum(getattr(self, source) is not None for source in SOURCES) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES[:-1])} and {SOURCES[-1]}")
        wrong = [message for message, applies in self._contradictions() if applies]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _contradictions(self) -> Iterable[tuple[str, bool]]:
        """What would be wrong with the keys that are given together, and whether it is."""
        yield "weights from pypi: need weights_sha256", self.weights.startswith("pypi:") and self.weights_sha256 is None
        yield 'weights = "imagenet" needs application', self.weights == "imagenet" and self.application is None
        for source, kind in OF_SOURCES.items():
            yield f'weights = "{kind}" needs {source}', self.weights == kind and getattr(self, source) is None
        is_file = self.weights.startswith(("file:", "pypi:"))
        yield "weights of a preset are its own: leave weights out", is_file and self.hub is not None
        yield (
            'weights = "random" beside model: the weights of a saved model are those of its file. Leave weights out; '
            "strategy scratch draws new ones",
            self.weights == "random" and self.model is not None,
        )
        yield (
            "weights_classifier = true needs application, and weights from a file",
            self.weights_classifier and (self.application is None or self.weights in ("imagenet", "random")),
        )
        yield (
            'has_classifier = true needs builder and weights = "random"',
            self.has_classifier and (self.builder is None or self.weights != "random"),
        )
        given = ", ".join(self.arguments)
        yield f"{given}: arguments of a constructor, which need application", given != "" and self.application is None
        is_cut = self.cut is not None or self.pooling is not None
        yield "cut and pooling have no meaning with has_classifier = true", is_cut and self.has_classifier

    def __hash__(self) -> int:
        # Enough to tell entries apart; all facts would take most of the time of planning a large sweep.
        return hash((self.name, self.folder))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor that are given."""
        return self.model_dump(include=set(ARGUMENTS), exclude_none=True)

    @property
    def source(self) -> str:
        """Where its network is from, as messages name it."""
        return self.model or self.builder or self.hub or f"keras.applications.{self.application}"

    @property
    def has_own_builder(self) -> bool:
        """Whether code of its user's makes the network."""
        return self.builder is not None and not self.builder.startswith(SHIPPED_BUILDERS)

    @property
    def has_imagenet_classifier(self) -> bool:
        """Whether it can be built with a classifier of ImageNet's 1,000 classes; see `build_whole`.

        Of presets only KerasHub knows, when it builds them.
        """
        has_weights = self.weights in ("imagenet", "random") or self.weights_classifier
        return self.hub is not None or (self.application is not None and has_weights)

    @property
    def is_shipped(self) -> bool:
        """Whether the registry that comes with the project has the same entry, with its weights or random ones."""
        from benchmark.registry.files import shipped_entries  # which makes these records

        shipped = shipped_entries()
        if self.name not in list(shipped):  # unlike `in shipped`, not for presets by name
            return False
        known = (shipped[self.name], shipped[self.name].with_random_weights())
        return _without_place(self) in map(_without_place, known)

    def with_random_weights(self) -> "Backbone":
        """The same network, its weights drawn at random; of no use but to measure costs."""
        own = {key: Backbone.model_fields[key].default for key in Backbone.model_fields if key.startswith("weights_")}
        return self.model_copy(update={**own, "weights": "random"})

    @property
    def usual_view(self) -> tuple[str, Crop]:
        """How images are resized and cropped for it if a sweep does not say."""
        return self.resize or USUAL_RESIZE, self.crop or USUAL_CROP

    @property
    def usual_engine(self) -> str:
        """The library that extracts features on a processor: that of `engine`, else OpenVINO for Keras's own networks.

        OpenVINO may not know the operations of other networks.
        """
        return self.engine or ("openvino" if self.application else "tensorflow")

    @property
    def build_facts(self) -> dict[str, Any]:
        """The facts that can change the network or which array goes to which layer, for feature keys."""
        kept = {
            *(*SOURCES, "cut", "pooling", *ARGUMENTS),
            *("weights_group", "weights_skip", "weights_match", "weights_graph"),
        }
        return self.model_dump(mode="json", include=kept, exclude_defaults=True)

    @property
    def facts(self) -> dict[str, Any]:
        """Every fact that can change a result, for cell keys."""
        # A row has columns for resizing and crop, so the entry need not repeat them.
        informative = {
            *("folder", "is_trusted", "flops_g", "params_backbone", "feature_dim", "engine", "resize", "crop"),
        }
        return self.model_dump(mode="json", exclude=informative, exclude_defaults=True, by_alias=True)


def _without_place(backbone: Backbone) -> dict[str, Any]:
    return backbone.model_dump(exclude={"folder", "is_trusted"})
