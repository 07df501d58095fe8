"""Plan: the cells of a recipe, their keys, and what of them is still to do."""
