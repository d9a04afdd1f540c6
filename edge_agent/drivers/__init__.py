"""Protocols without I/O (`dlt645`, `modbus`, `values`, `records`, `sim`) and the module that owns a line (`bus`)."""
