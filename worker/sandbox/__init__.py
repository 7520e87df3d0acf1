"""What a newcomer and a test need: a simulated API, an embedded broker, sample traffic, and a demo of it all."""
