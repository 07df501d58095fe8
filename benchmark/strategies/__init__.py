"""Strategies: how a network on top of a dataset comes to its predictions."""
