"""Each adapter knows one library and no other adapter; they meet the pipeline only in app.py."""
