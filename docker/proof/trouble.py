"""Produce failures that the dashboard has panels for: frames and a picture that cannot be decoded.

    python trouble.py HOST:PORT

Runs inside the server's image.
"""

from __future__ import annotations

import sys

import grpc

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub

JUNK = b"this is no picture"


def main() -> None:
    """See the module."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        service = PoseTrackingServiceStub(channel)
        config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG, drop_policy=settings_pb2.DROP_POLICY_ALL)
        frames = [track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=JUNK)) for number in range(3)]
        answers = service.Track(iter([track_pb2.TrackRequest(config=config), *frames]))
        failed = sum(answer.HasField("failed") for answer in answers)
        print(f"  {failed} of 3 frames of junk failed; their stream went on to its end")
        try:
            service.EstimatePoses(
                pose_tracking_service_pb2.EstimatePosesRequest(codec=pose_pb2.CODEC_JPEG, data=JUNK), timeout=60
            )
        except grpc.RpcError as error:
            print(f"  a picture of junk: {error.code().name}")


if __name__ == "__main__":
    main()
