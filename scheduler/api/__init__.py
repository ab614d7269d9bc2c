"""The REST API: the same verbs, permissions and history as the admin, for programs.

`urls.py` mounts it at /api/ and /api/v1/. Thin: scheduler/operations/ does what is asked and
decides who may ask it. Every error has one shape (`errors.py`), every body is strict JSON
(`strict_json.py`).
"""
