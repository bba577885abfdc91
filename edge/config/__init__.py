"""The configuration: `edge.toml`, its dataclasses, and what reads, writes and checks it."""

from edge.config.file import load_config, override
from edge.config.settings import (
    CameraConfig,
    ClassifyConfig,
    Config,
    DetectConfig,
    HealthConfig,
    LimitsConfig,
    LogConfig,
    MqttConfig,
    PrivacyConfig,
    PublishConfig,
    QualityConfig,
    SmoothConfig,
    TrackConfig,
)

__all__ = [
    "CameraConfig",
    "ClassifyConfig",
    "Config",
    "DetectConfig",
    "HealthConfig",
    "LimitsConfig",
    "LogConfig",
    "MqttConfig",
    "PrivacyConfig",
    "PublishConfig",
    "QualityConfig",
    "SmoothConfig",
    "TrackConfig",
    "load_config",
    "override",
]
