"""Work: one cell done, from its dataset to its row."""
