"""pyvae: variational auto-encoders as Pyro model/guide pairs."""

import lazy_loader

# torch and Pyro take seconds to import, and ``pyvae --help`` needs neither
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
