"""Database access: a thread of its own for coroutines, raw SQL in two dialects, and a text search."""
