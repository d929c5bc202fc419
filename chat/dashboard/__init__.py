"""The admin's site: its overview with figures by day, its sections, and its language."""
