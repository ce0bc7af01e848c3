"""Tests of kodify.actions."""
