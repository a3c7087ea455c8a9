"""Small web servers that strangers may reach: the rules of the page and of live viewers, in one place.

``addresses``: HOST:PORT and links. ``tokens``: where the secret comes from. ``visitors``: guesses and sessions.
``doors``: how many connections, how long. ``server_thread``: a server beside a stream. ``access``: who may pass.
``relay``: the same rules in front of a server that has none.
"""
