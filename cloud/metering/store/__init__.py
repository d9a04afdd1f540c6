"""SQL of the metering room. One function, one statement; nothing here commits or decides."""
