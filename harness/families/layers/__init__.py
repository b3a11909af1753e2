"""Layers that the families share, and the options that go with them."""
