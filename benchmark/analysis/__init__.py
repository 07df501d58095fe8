"""Analysis: ledgers turned into tables and pictures; no TensorFlow, no images."""
