"""Sweeps: the cells of a recipe, what is still to do, and the processes that do it."""
