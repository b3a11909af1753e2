"""Arrays in memory as data."""
