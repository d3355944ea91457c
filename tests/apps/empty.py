"""A module without setup(app)."""
