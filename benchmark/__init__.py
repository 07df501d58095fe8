"""A benchmark harness for pretrained image backbones."""

__version__ = "0.1.0"
