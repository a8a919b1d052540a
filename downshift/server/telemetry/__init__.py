"""What the server says about itself: metrics, history, logs, spans. It never changes an answer."""
