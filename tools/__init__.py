"""Commands that keep the repository in order: `python -m tools.NAME`."""
