"""Both payment providers in one small process, for the demonstration and for tests: real sockets, own keys.

It is written from the providers' public documents and shares no code with cloud.outside.payments: it signs answers and
calls as they do, checks our signatures as they do, and keeps a diary of what was paid. It can be told to misbehave.
No internet, no money: whoever opens its page presses "pay".
"""
