"""Small applications that tests serve with `--app tests.apps.NAME`."""
