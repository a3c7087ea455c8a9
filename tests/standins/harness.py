"""The harness with the questions that only tests ask a plugin."""

from __future__ import annotations

import ctypes

from mutualformer.plugins.harness import harness


class Harness(harness.Harness):
    """As acceptance's; and the tactics, the metadata and the timing cache's key of a plugin."""

    def tactics(self, plugin: int) -> list[int]:
        """What the builder would time."""
        values = (ctypes.c_int * 16)()
        count = int(self.library.harness_tactics(ctypes.c_void_p(plugin), values, 16))
        assert 0 <= count <= 16
        return list(values[:count])

    def metadata(self, plugin: int) -> str:
        """What the builder prints of the plugin in its layer list."""
        return self._text("metadata", plugin)

    def timing_cache_id(self, plugin: int) -> str:
        """What tells this plugin's timings from another's in a builder's timing cache."""
        return self._text("timing_cache_id", plugin)

    def _text(self, name: str, plugin: int) -> str:
        function = getattr(self.library, f"harness_{name}")
        function.restype = ctypes.c_char_p
        return str(function(ctypes.c_void_p(plugin)).decode())
