from .checkpoint import save_model as save_model
from .loading import load_sr3 as load_sr3
from .loading import read_model as read_model
from .model import Model as Model
from .prior import Prior as Prior
from .prior import sr3_prior as sr3_prior
from .prior_loading import load_prior as load_prior
from .unet import SR3UNet as SR3UNet
