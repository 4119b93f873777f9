from .matrix import ForgettingMatrix as ForgettingMatrix
from .metrics import psnr as psnr
from .metrics import ssim as ssim
