"""The REST API: the same verbs, permissions and history as the admin, for programs.

`urls.py` mounts it at /api/ and /api/v1/. The API is thin: scheduler/operations/ does the work, and
scheduler/operations/permissions.py says who may do it. Every error has one shape (`errors.py`), and
every body is strict JSON (`strict_json.py`).
"""
