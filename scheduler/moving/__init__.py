"""Moving in: reads schedules of other systems, maps them to jobs, and compares the slots of both.

It knows the operations and the schedules below it, and neither beat nor worker. A source reads; it
decides nothing about jobs that exist. Old slots come from the old system's own code where that is
Python, otherwise from a reading of its rules that shares no code with scheduler/schedule.
"""
