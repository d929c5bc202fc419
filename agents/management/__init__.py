"""Django's management commands of the agents."""
