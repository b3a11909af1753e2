"""Packs of a store: made, mended, and written again as single files."""
