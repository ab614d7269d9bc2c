"""Gives gunicorn's lines the look of all others.

Read by every `gunicorn` that is started in this directory, and by the one that the launcher starts.
"""

import sys

from jobu_project.config import ConfigError, load
from jobu_project.logs import dict_config

try:
    # Not get_config(): what this process keeps would be the answer of workers after a SIGHUP, too.
    logconfig_dict = dict_config(load().logging)
except ConfigError as error:
    # For the person who edited the file: the list of mistakes, not a traceback.
    sys.exit(str(error))
