"""Settings of the sites that tests start: production's, with passwords whose hash costs no half second.

tests/e2e/test_up.py signs in with the real hash.
"""

from netra.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
