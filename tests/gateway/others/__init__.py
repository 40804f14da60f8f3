"""The gateway, tried with what nobody here wrote: ``make gateway-others``, which needs npm. Start at ``__main__``."""
