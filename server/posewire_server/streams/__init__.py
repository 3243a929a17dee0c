"""One Track stream: its requests, its state, its responses, its end, and how it goes on elsewhere.

`stream.py` is the handler of a stream. A frame goes through these parts, and its result leaves through the last:

    Intake          intake            reads requests and decodes frames
    ReadyFrame      waiting_frames    what frames are before and after decoding, and their inboxes
    Inbox           inbox             a queue that drops frames by the stream's policy
    FrameClock      frame_clock       how much time lies between two frames
    Session         session           what the pipeline keeps from one frame to the next
    DetectorPace    detector_pace     how often the detector runs under load
    Outbox          outbox            sends the responses, and accounts for every frame

`lifetime.py` says when the server ends a stream, and `progress.py` has its statistics. `resume.py` takes up an earlier
stream from a signed snapshot of its tracker (`snapshots.py`).
"""
