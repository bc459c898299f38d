"""`nextone dashboard`: a local page on what is under a folder. Only `page/` imports Dash, an extra."""
