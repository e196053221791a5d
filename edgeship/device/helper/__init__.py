"""Sources of the device helper: Python 3.7, standard library only, assembled into one file by
`edgeship.device.ship`.

Nothing here is imported by the controller. Each module may import the ones before it in
`edgeship.device.ship.MODULES`, by `from .name import ...` lines that stand on one line each, and every
top-level name is unique over all of them.
"""
