"""The admin of users and, read-only, of their threads, messages, runs, events, input requests and API keys."""

from chat.admin import inputs, keys, providers, records, users

__all__ = ["inputs", "keys", "providers", "records", "users"]
