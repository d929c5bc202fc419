"""Input requests: ask, answer, expire; suspend a run and let it continue. Part of the write service `chat.runs`."""
