"""Sockets and live events: the WebSocket consumer, the channel layer and the seams to the servers."""
