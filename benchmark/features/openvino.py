"""OpenVINO: the same frozen graph, on a processor up to 2.3 times as fast as by TensorFlow."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.features.extractor import Features
from benchmark.features.graph import FrozenNetwork
from benchmark.provenance import usable_cpus

if TYPE_CHECKING:
    import openvino

# From at most as many images as the batch has, and the scale and offset of a mode, to features, in any thread.
Infer = Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]], Features]

# By network, what `read_network` gave for a number of channels, swapped or not.
_READ: "WeakKeyDictionary[FrozenNetwork, dict[tuple[int, bool], openvino.Model]]" = WeakKeyDictionary()


class EngineError(BenchmarkError):
    """A network that an engine cannot run."""


def read_network(frozen: FrozenNetwork, n_channels: int, *, is_swapped: bool) -> "openvino.Model":
    """The graph of `FrozenNetwork.save` as OpenVINO reads it; it is made once for all batch sizes.

    Raises:
        EngineError: OpenVINO is not installed, or does not know an operation of the network.
    """
    openvino = _library()
    read = _READ.setdefault(frozen, {})
    if (n_channels, is_swapped) not in read:
        # OpenVINO goes on reading from the file of the weights.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            frozen.save(Path(folder), n_channels, is_swapped=is_swapped)
            try:
                read[n_channels, is_swapped] = openvino.Core().read_model(folder)
            except RuntimeError as error:
                raise _cannot_run(error) from error
    return read[n_channels, is_swapped]


def compile_graph(network: "openvino.Model", precision: str, batch_size: int) -> tuple[Infer, int]:
    """A function that runs what `read_network` gave, and the number of threads that should call it.

    Args:
        network: The graph.
        precision: `float32` or `bfloat16`; the features are float32.
        batch_size: Images at a time, since graphs of a fixed size are faster. Smaller batches are filled up, larger
            ones divided.

    Raises:
        EngineError: OpenVINO cannot run the network, or not in this precision.
    """
    openvino = _library()
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT" if batch_size > 1 else "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        # On a cluster, a job has fewer cores than its node.
        "INFERENCE_NUM_THREADS": int(os.environ.get("TF_NUM_INTRAOP_THREADS") or usable_cpus()),
        # Jobs at the same time would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    sized = network.clone()
    images = sized.input("images")
    try:
        sized.reshape({images: [batch_size, *list(images.partial_shape)[1:]]})
        compiled = openvino.Core().compile_model(sized, "CPU", settings)
    except RuntimeError as error:
        raise _cannot_run(error) from error
    if precision == "bfloat16" and compiled.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
        raise EngineError(
            "This processor has no bfloat16, so OpenVINO would compute in float32: take --precision float32."
        )
    # One batch more than OpenVINO computes at a time is being read meanwhile.
    n_requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
    # Made before any of them computes: one that is made later waits for a batch of another.
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(n_requests):
        requests.put(compiled.create_infer_request())

    def infer(images: NDArray[np.uint8], scale: NDArray[np.float32], offset: NDArray[np.float32]) -> Features:
        if len(images) > batch_size:
            parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
            return np.concatenate([infer(part, scale, offset) for part in parts])
        n_missing = batch_size - len(images)
        whole = np.pad(images, ((0, n_missing), (0, 0), (0, 0), (0, 0))) if n_missing else images
        inputs = {"images": np.ascontiguousarray(whole), "scale": scale, "offset": offset}
        request = requests.get()
        try:
            # In OpenVINO's own threads: `infer`, in this one, is 3 % slower.
            request.start_async(inputs, share_inputs=True)
            request.wait()
            # A copy, since the next batch is written to the same place.
            return np.array(request.get_output_tensor(0).data[: len(images)], np.float32)
        finally:
            requests.put(request)

    return infer, n_requests


def _library() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineError("OpenVINO is not installed here: pip install 'backbone-benchmark[fast]'.") from error
    return openvino


def _cannot_run(error: RuntimeError) -> EngineError:
    reason = " ".join(str(error).split())
    return EngineError(
        f"OpenVINO cannot run this network: {reason}. Run it with --engine tensorflow, or write engine = "
        '"tensorflow" in its registry entry.'
    )
