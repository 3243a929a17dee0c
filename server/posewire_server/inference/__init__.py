"""The networks, their batching, and the path of a frame through them.

`pipeline.py` is the place to begin.

    pipeline       Pipeline: the path of one frame of a stream, or of a single picture
    outcomes       its results
    networks       Networks: detector, flow and pose network, loaded from a bundle
    batching       MicroBatcher, one for each network: joins the requests of all streams
    lane           Lane: the thread on which batches run; detector and pose network share one
    device_loss    DeviceLoss: notices if the GPU has failed for good
"""
