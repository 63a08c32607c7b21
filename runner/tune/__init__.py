"""Finding the best configuration of a model under a limit on its latency.

Rules of the room
1. Deciding is pure: `space`, `facts`, `predict`, `pruning`, `climb`, `halving`, `choice`, `recommend` read no clock
   and start nothing. Clock and measurer are handed to `halving`; given the same measurements it decides the same.
2. What is left out is left out for a reason that can be read: one sentence, with the figures that it rests on.
3. The cheap measurement comes first: a model alone, by batch size (`alone`), then servers under load (`trials`).
4. Nothing that was measured is lost: each measurement is a line in the state file before the next one begins.
"""
