"""OpenVINO: the same frozen graph, on a processor up to twice as fast as by TensorFlow."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.features.extractor import Features
from benchmark.provenance import usable_cpus

# From at most as many images as the batch has, and the scale and offset of a mode, to features, in any thread.
Infer = Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]], Features]


class EngineError(BenchmarkError):
    """A network that an engine cannot run."""


def compile_graph(graph_def: bytes, precision: str, batch_size: int) -> tuple[Infer, int]:
    """A function that runs a graph of `FrozenNetwork.graph_def`, and the number of threads that should call it.

    Args:
        graph_def: The graph.
        precision: `float32` or `bfloat16`; the features are float32.
        batch_size: Images at a time, since graphs of a fixed size are faster. Smaller batches are filled up, larger
            ones divided.

    Raises:
        EngineError: OpenVINO is not installed, does not know an operation of the network, or cannot compute in this
            precision.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError("OpenVINO is not installed here: pip install 'backbone-benchmark[fast]'.") from error

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT" if batch_size > 1 else "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        # On a cluster, a job has fewer cores than its node.
        "INFERENCE_NUM_THREADS": int(os.environ.get("TF_NUM_INTRAOP_THREADS") or usable_cpus()),
        # Jobs at the same time would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frozen.pb")
        path.write_bytes(graph_def)
        try:
            model = core.read_model(path)
            images = model.input("images:0")
            model.reshape({images: [batch_size, *list(images.partial_shape)[1:]]})
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise EngineError(
                f"OpenVINO cannot run this network: {reason}. Run it with --engine tensorflow, or write engine = "
                '"tensorflow" in its registry entry.'
            ) from error
    if precision == "bfloat16" and compiled.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
        raise EngineError(
            "This processor has no bfloat16, so OpenVINO would compute in float32: take --precision float32."
        )
    n_threads = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    # Made before any of them computes: one that is made later waits for a batch of another.
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(n_threads + 1):
        requests.put(compiled.create_infer_request())

    def infer(images: NDArray[np.uint8], scale: NDArray[np.float32], offset: NDArray[np.float32]) -> Features:
        if len(images) > batch_size:
            parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
            return np.concatenate([infer(part, scale, offset) for part in parts])
        n_missing = batch_size - len(images)
        whole = np.pad(images, ((0, n_missing), (0, 0), (0, 0), (0, 0))) if n_missing else images
        inputs = {"images:0": np.ascontiguousarray(whole), "scale:0": scale, "offset:0": offset}
        request = requests.get()
        try:
            # In OpenVINO's own threads: `infer`, in this one, is 3 % slower.
            request.start_async(inputs, share_inputs=True)
            request.wait()
            # A copy, since the next batch is written to the same place.
            return np.array(request.get_output_tensor(0).data[: len(images)], np.float32)
        finally:
            requests.put(request)

    return infer, n_threads
