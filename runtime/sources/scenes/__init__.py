"""Seeded synthetic scenes: primitives, materials, objects, rooms, sensor, scene, identities, cache."""
