"""Fuzzing: targets that take bytes, a small corpus for each, and two engines that know nothing of them.

A target is `one(data)`: it returns for whatever is handled as it should be, an error of the documented family
included, and raises for everything else. `make fuzz` runs each for a minute; a crash becomes a fix, a test in its
proper place, and an input in the corpus.
"""
