"""The page in the browser. Needs the extra `dashboard`."""
