"""The admin of users and assistants and, read-only, of threads, messages, runs, events, input requests and API keys."""

from chat.admin import assistants, inputs, keys, providers, records, users

__all__ = ["assistants", "inputs", "keys", "providers", "records", "users"]
