#!/usr/bin/env python3
"""Run a management command. Where no setting is given, it uses those of `make run`, if there are any."""

import os
import sys

from chat.devserver import environment

if __name__ == "__main__":
    settings = os.environ["DJANGO_SETTINGS_MODULE"] = os.environ.get("DJANGO_SETTINGS_MODULE") or "netra.settings"
    if sys.argv[1:2] == ["up"]:
        environment.prepare()
    else:
        environment.reuse()
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        if not f"{settings}.".startswith(f"{error.name}."):
            raise
        # A shell often has the variable of another Django project.
        sys.exit(f"DJANGO_SETTINGS_MODULE is {settings!r}, which is no module here. Unset it to use netra.settings.")
