"""The engines that can extract features, and the rule by which one is chosen."""

import functools
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.features.extractor import BATCH_SIZE, Extractor, Features, has_gpu
from benchmark.features.graph import FrozenNetwork, set_precision
from benchmark.features.openvino import EngineError, compile_graph, read_network
from benchmark.preprocessing import Line, Step, line_of
from benchmark.provenance import cpu_vectors

AUTO, TENSORFLOW, OPENVINO = "auto", "tensorflow", "openvino"

# TensorFlow: two batches at a time keep all cores busy when one layer cannot (depthwise convolutions): up to 1.4 times
# as many images per second, see perf/.
BATCHES_IN_FLIGHT = 2
# What `cpu_vectors` says of processors with bfloat16.
WITH_BFLOAT16 = ("AMX", "AVX-512 BF16")
# And of those on which TensorFlow would compute in float32 without a word.
WITHOUT_BFLOAT16 = ("AVX2", "AVX")

# From images as `Images.source` gives them, and what a mode does, to features.
Run = Callable[[NDArray[np.uint8], Line], Features]


class Compiled(NamedTuple):
    """A graph that an engine compiled, for all modes that swap channels or for all others; see `Extractor`."""

    run: Run
    n_in_flight: int
    is_filled_up: bool


class CompiledNetwork:
    """A network that an engine runs; its graph is compiled when it is first needed.

    Args:
        engine: A key of `ENGINES`.
        frozen: The network.
        n_channels: Of the images: one or three.
        precision: `float32` or `bfloat16` (on a GPU, what `frozen` was built in); the features are float32.
        batch_size: The usual number of images at a time.
    """

    def __init__(
        self, engine: str, frozen: FrozenNetwork, n_channels: int, precision: str, batch_size: int = BATCH_SIZE
    ) -> None:
        self._engine = engine
        self._precision = precision
        self._frozen = frozen
        self._compiled = functools.cache(
            lambda is_swapped: ENGINES[engine](frozen, n_channels, is_swapped, precision, batch_size)
        )

    def extractor(self, steps: tuple[Step, ...]) -> Extractor:
        """The network behind the steps of a mode.

        TensorFlow's precision is one of the whole process: set it back to float32 after the extraction.
        """
        set_precision(self._precision if self._engine == TENSORFLOW else "float32")
        line = line_of(steps, self._frozen.n_channels)
        run, n_in_flight, is_filled_up = self._compiled(line.is_swapped)
        return Extractor(lambda images: run(images, line), self._frozen.output_shape, n_in_flight, is_filled_up)


def _tensorflow(frozen: FrozenNetwork, n_channels: int, is_swapped: bool, precision: str, batch_size: int) -> Compiled:
    del batch_size  # its graphs take any number of images
    if precision == "bfloat16" and not has_gpu() and cpu_vectors() in WITHOUT_BFLOAT16:
        raise EngineError("This processor has no bfloat16: take --precision float32.")
    function = frozen.function(n_channels, is_swapped=is_swapped)
    return Compiled(
        lambda images, line: np.asarray(function(images, line.scale, line.offset)), BATCHES_IN_FLIGHT, False
    )


def _openvino(frozen: FrozenNetwork, n_channels: int, is_swapped: bool, precision: str, batch_size: int) -> Compiled:
    network = read_network(frozen, n_channels, is_swapped=is_swapped)
    infer, n_threads = compile_graph(network, precision, batch_size)

    def run(images: NDArray[np.uint8], line: Line) -> Features:
        return infer(images, line.scale, line.offset)

    return Compiled(run, n_threads, True)


ENGINES: dict[str, Callable[[FrozenNetwork, int, bool, str, int], Compiled]] = {
    TENSORFLOW: _tensorflow,
    OPENVINO: _openvino,
}


def choose_engine(asked: str, usual: str, *, has_gpu: bool, precision: str = "float32") -> str:
    """The engine of a probe: what was asked for, or for `auto` the usual one of the backbone if it can be used here.

    This is a rule and not a race, so that the same machine always gives the same bits.

    Args:
        asked: A key of `ENGINES`, or `auto`.
        usual: A key of `ENGINES`.
        has_gpu: Whether the machine has a GPU.
        precision: Of the computation. OpenVINO computes in bfloat16 only where the processor does.

    Raises:
        BenchmarkError: The engine that was asked for is not installed.
    """
    if asked == OPENVINO and not is_installed(OPENVINO):
        raise BenchmarkError("--engine openvino needs OpenVINO: pip install 'backbone-benchmark[fast]'.")
    if asked != AUTO:
        return asked
    is_possible = not has_gpu and is_installed(usual) and (precision == "float32" or cpu_vectors() in WITH_BFLOAT16)
    return usual if is_possible else TENSORFLOW


def is_installed(engine: str) -> bool:
    """Whether the engine's library is on this machine; it is not imported."""
    return importlib.util.find_spec(engine) is not None
