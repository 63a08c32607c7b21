"""What in an archive runs code when it is opened: found by reading, never by running.

Rules of the room
1. The gate is torch's own list of what `weights_only` loading calls (allowed.py), not a list of known evil: what is
   not on it is refused and named.
2. A pickle is whatever unpickles, by any name, at any depth: instructions.py reads it as bytes, machine.py walks
   them and looks at what would be called.
3. What cannot be looked into (too deep, too large, encrypted, damaged) is refused, too. Every loop has a bound.
4. Nothing here imports torch, a pickle or anything of the archive.
"""
