"""`edgeship demo`: the whole job on this machine, with a real model, real data and no board."""
