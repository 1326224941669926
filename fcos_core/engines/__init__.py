"""How the network is run. Normalised pixels go in, ``HeadOutputs`` come out of every engine."""
