from .parametrization import Denoiser as Denoiser
from .parametrization import Parametrization as Parametrization
from .process import draw_levels as draw_levels
from .process import q_sample as q_sample
from .samplers import SAMPLERS as SAMPLERS
from .samplers import sample as sample
from .sampling import Sampling as Sampling
from .schedule import NoiseSchedule as NoiseSchedule
