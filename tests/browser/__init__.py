"""Tests of the pages in a real Chromium, with running web, beat and worker."""
