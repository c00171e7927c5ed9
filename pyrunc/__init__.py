"""pyrunc: an OCI container runtime in which Python decides and C executes."""

__version__ = "0.1.0"

SPEC_VERSION = "1.3.0"
"""The newest runtime-spec whose Linux part this runtime reads."""
