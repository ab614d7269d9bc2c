"""`manage.py jobu`: web, beat, worker and Flower together in one terminal.

launch: prepares the first start, says where everything is. supervisor: runs the parts until a
signal, and starts again what has ended.
"""
