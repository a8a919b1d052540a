"""The HTTP server: V2 inference protocol, image endpoint, metrics, page."""
