"""An open-loop load: frames are due when a camera would have them, whatever the server does.

What is measured counts from the moment at which a frame was due, so that neither a slow answer nor a sender that is
held back can hide behind the next frame.
"""
