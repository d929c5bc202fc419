"""Settings of a process whose clock is wrong by TEST_CLOCK_AHEAD seconds."""

import os
import time
from datetime import timedelta

from django.utils import timezone

from tests.site_settings import *  # noqa: F403

_AHEAD = float(os.environ["TEST_CLOCK_AHEAD"])
_time, _now = time.time, timezone.now
time.time = lambda: _time() + _AHEAD
timezone.now = lambda: _now() + timedelta(seconds=_AHEAD)
