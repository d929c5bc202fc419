"""Sign-in by a provider: OpenID Connect, and GitHub. allauth speaks the protocol; what a sign-in means is decided here.

The end of every sign-in is a `chat.Session`, made by `chat.accounts.sessions.sign_in`.
"""
