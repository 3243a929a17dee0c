"""The posewire pose-tracking service.

The rooms, in the order in which a frame goes through them:

    server.py, service.py   the process, and the calls of the wire contract
    wire                    messages to and from dataclasses, errors to statuses
    admission               who may call, how much of it, and when it is their turn
    streams                 one stream: requests, state, responses, drain, resume
    decoding                encoded bytes to frames
    inference               the networks behind their batchers, and a frame's way through them
    tracking                the paper's Algorithm 1
    observability           logs, metrics, traces, health
    recording               streams that are recorded, run again and explained

`config.py` has all settings, `configuration.py` gets them from files, environment and flags.
"""
