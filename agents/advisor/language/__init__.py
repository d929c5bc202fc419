"""The small grammar of quantities: words as data (`words.toml`), tokens and numbers, and what a number counts."""
