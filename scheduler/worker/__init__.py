"""What a worker does: one run, from the message to the recorded outcome.

Knows: the store, handlers, the event loop. Must not know: beat, pages, the API, commands.
"""
