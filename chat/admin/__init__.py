"""The admin of users and, read-only, of their threads, messages, runs, events and input requests."""

from chat.admin import inputs, records, users

__all__ = ["inputs", "records", "users"]
