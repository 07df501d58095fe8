"""Child processes, and how they start."""

from benchmark.isolation.children import call_silently_in_child, iterate_in_child
from benchmark.isolation.settings import apply_backend_settings, silence
from benchmark.isolation.starting import start_server, start_worker

__all__ = [
    "apply_backend_settings",
    "call_silently_in_child",
    "iterate_in_child",
    "silence",
    "start_server",
    "start_worker",
]
