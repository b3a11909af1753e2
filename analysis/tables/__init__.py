"""Rows to fit: read from files of many formats, filtered and renamed."""
