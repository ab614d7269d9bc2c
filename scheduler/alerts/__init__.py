"""What people are told: what went wrong with jobs and with the scheduler itself.

rules: which rules a job has. evaluation: beat finds in the rows what the rules ask for. episodes:
an alert opens once and ends once. watchers: beats watch workers, workers watch beats. announcing:
who is told, and how. Nothing here records or runs a slot, and no fault here stops a tick.
"""
