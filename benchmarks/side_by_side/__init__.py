"""torch-archive beside other servers: the same model code behind each, the same load, in turn within each round.

`python -m benchmarks.side_by_side` prepares, measures and reports. What runs where:

- `apps/` runs in the servers' own environments: the models (`workloads.py`) and one file per server;
- `servers.py` is the table of servers, `cells.py` what is measured of each;
- `environments.py` prepares, `rounds.py` measures, `faults.py` breaks things, each with `running.py` and `load.py`;
- `records.py` are the lines that a run leaves behind; `report/` makes tables, page and chart of these lines alone.
"""
