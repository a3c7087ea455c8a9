"""The one web server beside a stream: the live page, and Foxglove's WebSocket.

In reading order: addresses (HOST:PORT, tokens, links), connections (how many, how long), middleware (who may see it),
server, foxglove, sink, routes, channel, holds, encode, snapshot. The page: ``page.html``, ``app.js`` and its scripts.
"""
