"""The admin of users and assistants and, read-only, of what else there is: threads, messages, runs, keys and more."""

from chat.admin import assistants, feedback, inputs, keys, providers, records, shares, users

__all__ = ["assistants", "feedback", "inputs", "keys", "providers", "records", "shares", "users"]
