"""The pages: views, templates, scripts and styles."""
