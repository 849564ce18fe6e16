"""A Campaign API on loopback: for rehearsals, demonstrations and tests.

It is an independent reading of the documented API. Nothing here knows how the runner builds a request or reads an
answer, so a misunderstanding over there cannot hide behind the same misunderstanding over here.

`server.Sandbox` is the server, `thread.SandboxThread` the same for a caller without an event loop, `options` and
`faults` say how it behaves. Names are imported from those modules and not repeated here: the command line reads the
table of faults for its `--help`, which must not cost the import of a web server.
"""
