"""The documentation is true: what it shows is run as it is written."""
