"""`archive profile`: where a batch's time goes, and what would change it.

    recording   in the model's process: batches timed, then recorded by torch.profiler, the stages as ranges
    events      the trace as plain events              tree, figures   events → who took how long
    changes     figures and config → what is worth trying
    trying      what is worth trying, measured in a process of its own against the model as it is
    notes       what keeps a reader from a wrong conclusion
    run         the recipe        files, render/       what comes out

Rules of the room
1. Times are of batches without the profiler; the trace gives shares. A figure that was estimated says so.
2. A change is promised by what it brought here, on these inputs, within `verify`; never by what it should bring.
"""
