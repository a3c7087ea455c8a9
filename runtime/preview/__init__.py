"""The live page: a small web server beside the stream, and what it shows.

``server``: the sink and its server. ``channel``: one camera. ``routes``: request by request. ``encode``, ``snapshot``,
``holds``: pictures, files to keep, paused moments. The page: ``page.html``, ``app.js`` and the scripts it imports.
"""
