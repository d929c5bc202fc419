"""Streams of a thread's events over HTTP, for the dialects: the follower, its responses, and the addresses in them."""
