"""OpenAI's interface: models, chat completions, responses and conversations."""
