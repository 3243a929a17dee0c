from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from posewire_server.config import LimitsConfig, SecurityConfig, ServerConfig, StageBatchingConfig
from posewire_server.tracking import TrackerConfig


@pytest.mark.parametrize(
    ("settings", "values", "says"),
    [
        (ServerConfig, {"port": 65536}, "port is 65536"),  # above the last port
        (ServerConfig, {"drain_grace_s": math.nan}, "drain_grace_s is nan"),  # compares false with everything
        (ServerConfig, {"host": ""}, "host is empty"),  # gRPC would listen everywhere
        (ServerConfig, {"host": "[::1]"}, r"host is \[::1\]; write an IPv6 address without brackets"),
        (ServerConfig, {"bundle": ""}, "bundle is empty"),
        (LimitsConfig, {"max_streams": 0}, "max_streams is 0"),  # a server for nobody
        (LimitsConfig, {"max_openings_per_s": 0}, "max_openings_per_s is 0"),  # who comes second would wait for ever
        (LimitsConfig, {"max_queries_per_s": 0}, "max_queries_per_s is 0"),
        (LimitsConfig, {"max_frame_pixels": 10}, "max_frame_pixels is 10"),
        (ServerConfig, {"jpeg_decoder": "nvjpeg"}, "jpeg_decoder is 'nvjpeg'; use auto, cpu, gpu"),
        (ServerConfig, {"video_decoder": "nvdec"}, "video_decoder is 'nvdec'; use auto, cpu, gpu"),
        (StageBatchingConfig, {"max_batch": -1}, "max_batch is -1"),
        (StageBatchingConfig, {"max_batch": 1, "max_wait_ms": -1.0}, "max_wait_ms is -1.0"),
        (LimitsConfig, {"max_idle_s": -1.0}, "max_idle_s is -1.0"),
        (SecurityConfig, {"tls_cert": Path("cert.pem")}, "only one of tls_cert and tls_key is given"),
        (SecurityConfig, {"tls_key": Path("key.pem")}, "only one of tls_cert and tls_key is given"),
        (SecurityConfig, {"client_ca": Path("ca.pem")}, "client_ca is given without TLS"),
        # A default that no stream could use.
        (ServerConfig, {"runtime": "x"}, "runtime is 'x'; use auto, torch"),
        (ServerConfig, {"precision": "x"}, "precision is 'x'; use auto, float32"),
        (ServerConfig, {"device": "x"}, "device is 'x'; use auto, cpu"),
        (ServerConfig, {"detector": "x"}, "unknown detector 'x'; use one of"),
        (ServerConfig, {"flow": "dis:slow"}, "unknown DIS preset 'slow'; known presets"),
        (ServerConfig, {"traces": "http://"}, "such as http://localhost:4317"),
        (ServerConfig, {"limits": LimitsConfig(max_people=5), "tracker": TrackerConfig(max_people=6)}, "max_people"),
    ],
)
def test_out_of_range(settings: type, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**values)


def test_there_is_always_a_decoding_thread() -> None:
    assert ServerConfig().decoding_thread_count >= 1
    assert ServerConfig(decode_threads=3).decoding_thread_count == 3


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu-host", "localhost.example.org"])
def test_whoever_listens_beyond_this_machine_says_who_may_call(host: str) -> None:
    with pytest.raises(ValueError, match=r"other machines could connect.*--insecure"):
        ServerConfig(host=host)
    for security in (
        SecurityConfig(tokens=Path("tokens")),
        SecurityConfig(tls_cert=Path("cert.pem"), tls_key=Path("key.pem")),
        SecurityConfig(insecure=True),
    ):
        assert not ServerConfig(host=host, security=security).is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_on_this_machine_anybody_may(host: str) -> None:
    assert ServerConfig(host=host).is_local
