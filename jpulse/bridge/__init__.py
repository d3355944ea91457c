"""The way of a message to the other processes: none (`local`) or Redis (`redis`)."""
