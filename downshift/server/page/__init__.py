"""The live page at `/`: its assets and the stream of seconds behind it."""
