"""The HTTP edge: JSON and pages from the same endpoints. app > routers > who, reply, chart."""
