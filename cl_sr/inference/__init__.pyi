from .loading import load_restorer as load_restorer
from .restorer import Restorer as Restorer
from .upscaling import Request as Request
from .upscaling import Upscaled as Upscaled
