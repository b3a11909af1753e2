"""What commands show: runs, plans and forecasts, as words and as JSON."""
