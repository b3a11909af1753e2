"""Text: bytes, or tokens of a byte-pair encoding."""
