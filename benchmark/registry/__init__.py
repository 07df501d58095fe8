"""The registry: which backbones there are, and what is known of each."""

from benchmark.registry.files import (
    REGISTRY_FILE,
    Registry,
    load_registry,
    read_registry,
    shipped_entries,
    shipped_path,
)
from benchmark.registry.names import check_classifier_size, check_input_size, get_backbone, select_names
from benchmark.registry.record import ARGUMENTS, FILE, LARGEST_INPUT_PX, Backbone

__all__ = [
    "ARGUMENTS",
    "FILE",
    "LARGEST_INPUT_PX",
    "REGISTRY_FILE",
    "Backbone",
    "Registry",
    "check_classifier_size",
    "check_input_size",
    "get_backbone",
    "load_registry",
    "read_registry",
    "select_names",
    "shipped_entries",
    "shipped_path",
]
