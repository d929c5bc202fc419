"""The embedded default of `make run` and `manage.py up`: its environment and processes."""
