"""`manage.py jobu`: web, beat, worker and Flower together in one terminal.

`launch` prepares the first start and prints the addresses. `supervisor` runs the parts until a
signal arrives, and restarts a part that has ended.
"""
