"""An open-loop load: frames are due when a camera would have them, whatever the server does.

What is measured counts from the moment at which a frame was due, so that neither a slow answer nor a sender that is
held back can hide behind the next frame.

`command.py` is `posewire bench load`, with its `flags.py` and `flag_rules.py`. Its questions:

    capacity.py                      the largest number of streams within a latency bound
    scaling.py                       many streams compared with one
    overload.py                      twice the load that the server can carry
    interference.py                  a hostile client beside the others: `hostile.py`, of a `hostile_kind.py`

All of them measure on a rig:

    options.py, rig.py               the load; a server and clips, prepared for any number of measurements
    generator_process.py             the parent's side of a process that sends
    generator.py                     that process; `planned_process.py` starts it, and the hostile client
    schedule.py, sender.py           when each frame is due; one stream, which sends it then
    records.py                       what is recorded about each frame
    server_metrics.py                what the server says of itself
    accelerator.py                   what its GPU does
    summary.py, statistics.py        from all of that to a result
    result.py                        LoadResult: the figures, and how they are shown
"""
