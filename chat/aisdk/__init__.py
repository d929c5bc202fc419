"""Clients of AI SDK 7: requests over HTTP and WebSocket, and the messages that they load."""
