"""The choice of the law that predicts best, and of the runs that would teach most."""
