"""The worker process: it claims runs and executes their agents."""
