"""Several worker processes behind one port: what keeps them running, and how one of them speaks for all."""
