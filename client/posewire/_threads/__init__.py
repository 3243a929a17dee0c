"""The threads of the SDK, each of which is an `OwnThread`: the interpreter ends it before it exits.

    OwnThread     own_thread     a thread, and whether code that runs in one may wait for another
    Workers       workers        threads for work that would block an event loop, such as encoding
    LoopThread    loop_thread    an event loop in its own thread, for programs without one

`SourceFeed` in `posewire._streaming` starts another, which reads a source.
"""
