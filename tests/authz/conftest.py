"""The same site as for the pages."""

from pages.site import site as site
