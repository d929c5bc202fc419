"""The Django app: durable threads, runs and events over WebSocket and REST."""
