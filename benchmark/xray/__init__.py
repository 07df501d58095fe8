"""The x-ray: what a network and a mode do to a pixel, and whether they go together."""
