"""Processes that lease trunks of a store, train and publish them."""
