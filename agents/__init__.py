"""Agents, and what executes them."""
