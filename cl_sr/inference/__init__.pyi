from .loading import load_restorer as load_restorer
from .restorer import Restorer as Restorer
