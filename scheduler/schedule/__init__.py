"""When a job runs: expressions, clock changes, calendars, and the plan of what is due.

Pure: takes the time, reads no clock, no database and no settings.
"""
