"""Which law predicts, and which runs would teach the most."""
