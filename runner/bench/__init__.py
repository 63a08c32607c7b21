"""Measuring a server under load.

Rules of the room
1. Who sends is a process of its own (`generator`), so that it waits for nobody's interpreter lock; who reads the
   server's figures and prints is another. Between them go the messages of `messages`, no pickles.
2. A latency runs from the moment when a request was meant to be sent. In an open loop that moment comes from a
   schedule drawn beforehand, so a server that stalls pays for every request of the stall, not for those alone that
   happened to be on their way.
3. What was not answered counts: as an error by its kind, and in the latencies with the time that it waited in vain.
4. Deciding is pure: `schedule`, `pace`, `reading`, `figures` have no clock and no socket; `drive` has them handed in.
5. Every figure comes with what limits it: the generator's own ceiling, the model's own speed, the machine's load.
"""
