"""Files from elsewhere: which are known, fetched and checked by hash."""
