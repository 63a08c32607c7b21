"""The decisions. No clock, socket, thread or asyncio here: `now` is an argument, in monotonic seconds.

Start reading in `job.py` (a request's life), then `batcher.py` (who travels together, and when),
`retry.py` (what becomes of a batch that went wrong) and `restart.py` (when a dead worker comes back).
"""
