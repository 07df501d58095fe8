"""Analysis: ledgers turned into tables and pictures; no TensorFlow, and no images but for the gallery."""
