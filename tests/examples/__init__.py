"""The small applications in examples/, each in a real browser with two visitors at two processes."""
