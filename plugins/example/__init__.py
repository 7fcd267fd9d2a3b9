"""An example of a plug-in, to be copied: one file of each kind. modbench does not load it by itself."""
