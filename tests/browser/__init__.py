"""People's ways through the pages, in a real Chromium against a running web, beat and worker."""
