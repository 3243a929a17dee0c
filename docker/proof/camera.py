"""A camera: send a clip under the drop policy LATEST, as live sources do; `posewire track` sends files under ALL.

    python camera.py HOST:PORT CLIP

Runs inside the server's image.
"""

from __future__ import annotations

import sys

import posewire


def main() -> None:
    """See the module."""
    address, clip = sys.argv[1:]
    with posewire.Client(address) as client, client.track(clip, drop_policy="latest") as stream:
        for _ in stream:
            pass


if __name__ == "__main__":
    main()
