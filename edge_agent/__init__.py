"""The agent at the customer's: reads meters and keeps every reading until the cloud has committed it."""
