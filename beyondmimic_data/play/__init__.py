"""One robot that a person steers: live in a browser, or by a script into a video."""
