"""The best learning rate of each point, and its rule over scale."""
