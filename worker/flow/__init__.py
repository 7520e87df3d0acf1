"""Pure: what may start, wait, go faster, be published and be committed."""
