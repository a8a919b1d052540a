"""Queue, admission, policies and execution: which sub-net answers which requests, and when."""
