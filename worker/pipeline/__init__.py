"""The shell: lanes and the loop. It declares the Protocols it needs (ports) and imports no adapter."""
