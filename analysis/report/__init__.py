"""A results folder's findings as a page, figures and fits.json."""
