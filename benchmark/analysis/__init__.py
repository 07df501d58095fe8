"""Analysis: ledgers turned into tables, without TensorFlow and without reading images."""
