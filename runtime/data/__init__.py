"""Data sets as frames, for every stage: reading them imports neither torch nor train.

In reading order: ``item`` (what a data set yields), ``spec`` (DATA on the command line), ``folder`` (RGB-D folders),
``names``, ``masks``, ``survey`` and ``polarity`` (how its files are read), ``sets`` (the public sets by name),
``sample`` (the real pair), ``reid_folder`` (RGB-NIR identities), ``pictures`` (photographs in any layout), ``frames``
(DATA or those), ``scenes`` (rendered rooms).
"""
