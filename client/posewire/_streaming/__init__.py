"""One stream of frames and results, from a source to the program, over as many calls as it takes.

A frame goes through these parts, and its result comes back through the last three:

    SourceFeed     feed            reads the source in a thread
    FrameSender    frame_sender    waits for room, and encodes in another thread
    Outgoing       outgoing        sends, as far as the SendWindow allows; without a connection, keeps or drops
    TrackCall      call            the gRPC call
    Exchange       exchange        reads the responses, call after call: Reconnection opens the next one
    Answers        answers         enters them in the Ledger, the account, and in Retained, which a next call needs
    Delivery       delivery        results in frame order, until the program takes them

`stream.py` is the interface for programs, `plan.py` has what they ask for, and `opening.py` opens the source and the
first call.
"""
