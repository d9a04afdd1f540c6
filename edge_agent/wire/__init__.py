"""EBP/1, the published language between agent and cloud: envelope, batches, control messages.

The only part of the agent that the cloud may import. Pure: bytes in, values out, no clock, no I/O.
Nothing but `cose.Malformed` and `cose.Forged` comes out of a decoder, whatever bytes go in.
"""
