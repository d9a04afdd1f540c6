"""A served site for page tests."""

from pages.site import site as site
