"""The posewire pose-tracking service.

Its parts, in the order in which a frame passes through them:

    options.py, process.py    the command line, and the server's process, until it is told to stop
    server.py                 the gRPC server: what it is made of, its start and its end
    service.py, pictures.py   the gRPC methods; the one for single pictures, which need no stream
    wire                      messages to and from dataclasses, errors to statuses
    admission                 authentication, limits, and scheduling between streams
    streams                   one stream: requests, state, responses, drain, resume
    decoding                  encoded bytes to frames
    inference                 the networks, their batching, and the path of a frame through them
    tracking                  the paper's Algorithm 1
    observability             logs, metrics, traces, health
    recording                 recording streams, replaying and explaining them

`config.py` defines all settings, `configuration.py` reads them from files, environment and flags. `errors.py` has the
exceptions, and `workers.py` the threads for everything that would block the event loop.
"""
