"""Makes ``reid-lite``: objects of photographs as identities, seen in views that differ as a camera's would.

Reading order: infrared (near-infrared simulated from colour) → views (one object in another place, light and blur) →
heads (what is trained behind the streams) → held_out (objects nobody trained on, and what one modality less costs).

No public set of colour and near-infrared pairs is free enough to ship a model from, so the near-infrared here is
simulated, and every card says so.
"""
