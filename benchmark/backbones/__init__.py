"""Backbones: a registry record turned into a Keras model with its weights."""
