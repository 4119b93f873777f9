from .api import Run as Run
from .api import load as load
from .api import open as open
from .api import run as run
from .errors import InputError as InputError

__version__: str
