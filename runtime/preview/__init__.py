"""One web server for people and viewers: the live page of a stream, the drop page of ``predict``, Foxglove's WebSocket.

In reading order: addresses (HOST:PORT, tokens, links), connections (their number and timeouts), middleware (access
control), server, live_page, channel (one camera), encode, snapshot, drop_page, foxglove. The folder ``page`` holds what
the browser gets: ``page.html`` with ``app.js`` and its scripts, ``drop.html`` with ``drop.js``, ``login.html``.
"""
