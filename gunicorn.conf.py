"""Read by every `gunicorn` that is started in this directory: its lines look as all others do."""

import sys

from jobu_project.config import ConfigError, load
from jobu_project.logs import dict_config

try:
    # Not get_config(): what this process keeps would be the answer of workers after a SIGHUP, too.
    logconfig_dict = dict_config(load().logging)
except ConfigError as error:
    # For the person who edited the file: the list of mistakes, not a traceback.
    sys.exit(str(error))
