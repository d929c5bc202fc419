"""The streams of model providers, from HTTP to parts of a response."""
