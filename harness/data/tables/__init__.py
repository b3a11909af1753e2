"""Rows of numbers from files."""
