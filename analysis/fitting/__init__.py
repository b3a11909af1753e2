"""The certified global fit of a law to a table."""
